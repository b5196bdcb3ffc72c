//! Hostile text made safe to look at: what a person sees is all there is.
//!
//! Everything without a visible form of its own is spelled out as `⟨U+XXXX⟩`, and so is `⟨` itself, so that no
//! text can pretend to have been escaped. This is for showing only: it must never be used to compare, sign or
//! store values, and it knows nothing of markup, which belongs to each channel.

use std::fmt::Write as _;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};

/// Marks that may stack on one base character. No script needs more; a taller stack buries the lines around it.
const MAX_MARKS: usize = 4;

/// Ranges that show as nothing although their general category is that of a letter, mark or symbol: the rest of
/// Unicode's Default_Ignorable_Code_Point, and the blanks and fillers that fonts leave empty.
const BLANKS: [(char, char); 16] = [
    ('\u{034F}', '\u{034F}'),   // combining grapheme joiner
    ('\u{115F}', '\u{1160}'),   // Hangul fillers
    ('\u{17B4}', '\u{17B5}'),   // Khmer inherent vowels
    ('\u{180B}', '\u{180F}'),   // Mongolian variation selectors and vowel separator
    ('\u{2065}', '\u{2065}'),   // reserved among the invisible operators
    ('\u{2800}', '\u{2800}'),   // Braille blank
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{FE00}', '\u{FE0F}'),   // variation selectors
    ('\u{FFA0}', '\u{FFA0}'),   // halfwidth Hangul filler
    ('\u{FFF0}', '\u{FFF8}'),   // reserved, ignorable
    ('\u{FFFC}', '\u{FFFC}'),   // object replacement
    ('\u{13441}', '\u{13442}'), // Egyptian blanks
    ('\u{16FE4}', '\u{16FE4}'), // Khitan filler
    ('\u{1BCA0}', '\u{1BCA3}'), // shorthand format controls
    ('\u{1D159}', '\u{1D159}'), // musical null notehead
    ('\u{E0000}', '\u{E0FFF}'), // tags and variation selectors
];

/// `text` on one line, with every invisible, reordering or ambiguous character spelled out as `⟨U+XXXX⟩`.
///
/// Spelled out are: controls (newline and tab too), format characters (bidi, zero-width, soft hyphen, tags),
/// every space but U+0020, line and paragraph separators, private-use and unassigned characters, fillers,
/// `⟨` itself, and combining marks that have no base or are more than four on one.
///
/// Everyday text stays as it is: a joiner or a selector within an emoji, a joiner between letters of a script that is
/// written with it, and a single no-break space between two visible characters.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // The character before, unless it was spelled out.
    let mut before = None;
    // Room for marks on the character before; a mark at the start would sit on whatever the text is put behind.
    let mut marks_left = 0;
    while let Some(c) = rest.next() {
        // Nearly all text, and the tables are slow: a log line would cost more than the call that it tells of.
        if matches!(c, ' '..='~') {
            shown.push(c);
            marks_left = MAX_MARKS;
            before = Some(c);
            continue;
        }
        let hidden = is_hidden(c) && !is_everyday(before, c, rest.peek().copied());
        let is_mark = c.general_category_group() == GeneralCategoryGroup::Mark;
        if hidden || (is_mark && marks_left == 0) {
            spell_out(c, &mut shown);
            marks_left = 0;
            before = None;
        } else {
            shown.push(c);
            before = Some(c);
            marks_left = if is_mark { marks_left - 1 } else { MAX_MARKS };
        }
    }
    shown
}

/// [`visible`] for a name of an argument, where letters beyond ASCII are spelled out too: those that tools declare have
/// none, and one that only looks like a declared name must not be taken for it.
pub(crate) fn visible_name(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ' '..='~') { shown.push(c) } else { spell_out(c, &mut shown) }
    }
    shown
}

/// [`visible`] for text that may have several lines: cut at each newline (U+000A) first, and at nothing else.
pub(crate) fn visible_lines(text: &str) -> Vec<String> {
    text.split('\n').map(visible).collect()
}

fn spell_out(c: char, shown: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(shown, "⟨U+{:04X}⟩", u32::from(c));
}

/// Whether `c`, hidden by itself, has its usual place between these neighbours. Each place has room for one.
fn is_everyday(before: Option<char>, c: char, after: Option<char>) -> bool {
    match (before, c, after) {
        (Some(before), '\u{A0}' | '\u{202F}', Some(after)) => is_inked(before) && is_inked(after),
        (Some('0'..='9' | '#' | '*'), '\u{FE0F}', after) => after == Some('\u{20E3}'),
        (Some(before), '\u{FE0E}' | '\u{FE0F}', _) => is_emoji(before),
        (Some(before), '\u{200D}', Some(after)) => {
            ((is_emoji(before) || before == '\u{FE0F}') && is_emoji(after)) || (joins(before) && joins(after))
        }
        (Some(before), '\u{200C}', Some(after)) => joins(before) && joins(after),
        _ => false,
    }
}

fn is_inked(c: char) -> bool {
    c != ' ' && !is_hidden(c)
}

/// Digits are emoji as well, but join nothing.
fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

/// Letters and marks of the scripts in which a joiner changes how their neighbours look: Arabic and Syriac, those of
/// India, Tibetan, Myanmar, Khmer, Mongolian. Source: chapter 23.2 of the Unicode Standard.
fn joins(c: char) -> bool {
    let is_script = matches!(c,
        '\u{0600}'..='\u{07FF}' | '\u{0840}'..='\u{0DFF}' | '\u{0F00}'..='\u{109F}' | '\u{1780}'..='\u{18AF}'
        | '\u{A8E0}'..='\u{A8FF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}');
    let group = c.general_category_group();
    is_script && matches!(group, GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark) && !is_hidden(c)
}

fn is_hidden(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned,
    };
    match c.general_category() {
        Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate | Unassigned => true,
        GeneralCategory::SpaceSeparator => c != ' ',
        _ => c == '⟨' || BLANKS.iter().any(|(first, last)| (*first..=*last).contains(&c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays() {
        for text in [
            "",
            "light.bedroom",
            "Küche & Straße",
            "e\u{301}",
            "नमस्ते",
            "ไทย",
            "日本語 한글",
            "😀 ©",
            "a\u{fffd}b",
            "<b>&[x]",
            "❤\u{fe0f} ☎\u{fe0e} 👩🏽\u{200d}🔧 👩\u{200d}❤\u{fe0f}\u{200d}👨 1\u{fe0f}\u{20e3} 🇩🇪",
            "20\u{a0}°C, 1\u{202f}000\u{a0}€",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
        ] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn invisible_text_is_spelled_out() {
        let table = [
            ("a\nb", "a⟨U+000A⟩b"),
            ("\t", "⟨U+0009⟩"),
            ("\0", "⟨U+0000⟩"),
            ("\u{1b}[2J", "⟨U+001B⟩[2J"),
            ("\r\u{7f}\u{85}", "⟨U+000D⟩⟨U+007F⟩⟨U+0085⟩"),
            ("\u{202e}evil", "⟨U+202E⟩evil"),
            ("\u{2066}x\u{2069}", "⟨U+2066⟩x⟨U+2069⟩"),
            ("\u{61c}\u{200e}", "⟨U+061C⟩⟨U+200E⟩"),
            ("a\u{200b}b\u{200d}c", "a⟨U+200B⟩b⟨U+200D⟩c"),
            ("a\u{a0}\u{a0}b\u{3000}", "a⟨U+00A0⟩⟨U+00A0⟩b⟨U+3000⟩"),
            ("\u{a0}a\u{a0}", "⟨U+00A0⟩a⟨U+00A0⟩"),
            ("a \u{a0} b", "a ⟨U+00A0⟩ b"),
            ("x\u{200c}y", "x⟨U+200C⟩y"),
            ("1\u{fe0f}", "1⟨U+FE0F⟩"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}⟨U+FE0F⟩"),
            ("👩\u{200d}", "👩⟨U+200D⟩"),
            ("👩\u{200d}\u{200d}👧", "👩⟨U+200D⟩⟨U+200D⟩👧"),
            ("م\u{200c}\u{200c}م", "م⟨U+200C⟩⟨U+200C⟩م"),
            ("م\u{202e}", "م⟨U+202E⟩"),
            ("🏴\u{e0067}", "🏴⟨U+E0067⟩"),
            ("\u{2028}\u{2029}", "⟨U+2028⟩⟨U+2029⟩"),
            ("a\u{fe0f}", "a⟨U+FE0F⟩"),
            ("\u{e000}\u{10fffd}", "⟨U+E000⟩⟨U+10FFFD⟩"),
            ("\u{ffff}\u{fdd0}", "⟨U+FFFF⟩⟨U+FDD0⟩"),
            ("\u{378}", "⟨U+0378⟩"),
            ("\u{2800}", "⟨U+2800⟩"),
            ("⟨U+000A⟩", "⟨U+27E8⟩U+000A⟩"),
        ];
        for (text, shown) in table {
            assert_eq!(visible(text), shown, "{text:?}");
        }
    }

    /// The ranges of Default_Ignorable_Code_Point in Unicode 16's DerivedCoreProperties.
    #[test]
    fn every_default_ignorable_is_spelled_out() {
        let ranges = [
            (0xAD, 0xAD),
            (0x34F, 0x34F),
            (0x61C, 0x61C),
            (0x115F, 0x1160),
            (0x17B4, 0x17B5),
            (0x180B, 0x180F),
            (0x200B, 0x200F),
            (0x202A, 0x202E),
            (0x2060, 0x206F),
            (0x3164, 0x3164),
            (0xFE00, 0xFE0F),
            (0xFEFF, 0xFEFF),
            (0xFFA0, 0xFFA0),
            (0xFFF0, 0xFFF8),
            (0x1BCA0, 0x1BCA3),
            (0x1D173, 0x1D17A),
            (0xE0000, 0xE0FFF),
        ];
        for c in ranges.into_iter().flat_map(|(first, last)| first..=last).filter_map(char::from_u32) {
            // Behind a base, so that marks are not spelled out for the lack of one.
            assert_eq!(visible(&format!("a{c}")), format!("a⟨U+{:04X}⟩", u32::from(c)));
        }
    }

    #[test]
    fn marks_need_a_base_and_stack_four_high() {
        let four = "a\u{300}\u{301}\u{302}\u{303}";
        assert_eq!(visible(four), four);
        assert_eq!(visible(&format!("{four}\u{304}\u{305}b")), format!("{four}⟨U+0304⟩⟨U+0305⟩b"));
        assert_eq!(visible("\u{338}a"), "⟨U+0338⟩a");
        assert_eq!(visible("a\u{200b}\u{20e0}"), "a⟨U+200B⟩⟨U+20E0⟩");
    }

    #[test]
    fn a_name_has_no_look_alike() {
        assert_eq!(visible_name("dry_run"), "dry_run");
        assert_eq!(visible_name("dry_r\u{443}n"), "dry_r⟨U+0443⟩n");
        assert_eq!(visible_name("a\tb\u{301}⟨x"), "a⟨U+0009⟩b⟨U+0301⟩⟨U+27E8⟩x");
    }

    #[test]
    fn lines_break_at_newlines_only() {
        assert_eq!(visible_lines("a\nb\r\n\u{2028}"), ["a", "b⟨U+000D⟩", "⟨U+2028⟩"]);
        assert_eq!(visible_lines(""), [""]);
    }
}
