//! Fields of a query or of a form's body (`application/x-www-form-urlencoded`).

use percent_encoding::percent_decode_str;

/// More fields than this are not looked at: the most arguments of a call have two each.
const MAX_FIELDS: usize = 160;

/// The decoded value of the first field called `name`; None when it is absent or no text.
pub(crate) fn field(encoded: &str, name: &str) -> Option<String> {
    fields(encoded, name).next()
}

/// The decoded values of all fields called `name` that are texts.
pub(crate) fn fields<'e>(encoded: &'e str, name: &'e str) -> impl Iterator<Item = String> + 'e {
    encoded.split('&').take(MAX_FIELDS).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key)? == name).then(|| decoded(value)).flatten()
    })
}

/// None for what is no UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_once() {
        let body = "a=1&note=not+now%2C+please%0A%26&e=%2541&bad=%FF&flag&a=2";
        let got = |name| field(body, name);
        assert_eq!(got("a").as_deref(), Some("1"));
        assert_eq!(got("note").as_deref(), Some("not now, please\n&"));
        assert_eq!(got("e").as_deref(), Some("%41"));
        assert_eq!((got("bad"), got("none")), (None, None));
        assert_eq!(got("flag").as_deref(), Some(""));
        assert_eq!(fields(body, "a").collect::<Vec<_>>(), ["1", "2"]);
    }
}
