//! One value out of a JSON text, without making a tree of the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The text, number or truth value at the end of `path`: names of members, and numbers of items from 0. None when there is
/// no such value, or `json` is no JSON.
pub(super) fn single(json: &str, path: &[String]) -> Option<Value> {
    At(path).deserialize(&mut serde_json::Deserializer::from_str(json)).ok().flatten()
}

/// The rest of the way.
#[derive(Clone, Copy)]
struct At<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl At<'_> {
    fn end(self, value: Value) -> Option<Value> {
        self.0.is_empty().then_some(value)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<Value>, E> {
        Ok(self.end(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<Value>, E> {
        Ok(self.end(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<Value>, E> {
        Ok(self.end(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<Value>, E> {
        Ok(self.end(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Option<Value>, E> {
        Ok(self.end(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        let wanted =
            self.0.split_first().and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
        let (mut at, mut found) = (0_usize, None);
        loop {
            match wanted {
                Some((number, rest)) if number == at => match items.next_element_seed(At(rest))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                },
                _ => {
                    if items.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(found);
                    }
                }
            }
            at += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Value>, A::Error> {
        let wanted = self.0.split_first();
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            match wanted {
                Some((first, rest)) if *first == name => found = members.next_value_seed(At(rest))?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let json = r#"{"ocs":{"meta":{"statuscode":100,"x":[false,{"y":"z"}]},"n":null},"a.b":1}"#;
        let at = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            single(json, &path)
        };
        assert_eq!(at("ocs.meta.statuscode"), Some(100.into()));
        assert_eq!(at("ocs.meta.x.0"), Some(false.into()));
        assert_eq!(at("ocs.meta.x.1.y"), Some("z".into()));
        for none in
            ["ocs", "ocs.meta.x", "ocs.n", "ocs.meta.statuscode.0", "ocs.meta.x.2", "ocs.meta.x.y", "nope"]
        {
            assert_eq!(at(none), None, "{none}");
        }
        assert_eq!(single("7", &[]), Some(7.into()));
        assert_eq!(single("{", &["a".to_owned()]), None);
    }
}
