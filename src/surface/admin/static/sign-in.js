"use strict";
// Whoever opens a link means to sign in. Without scripts there is a button.
document.getElementById("by-link")?.requestSubmit();
