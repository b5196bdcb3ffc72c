//! One value of a JSON text, found without building a tree of the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The text, number or boolean at the end of `path`: names of members, and numbers of items from 0. None when there is
/// no such value, or `json` is not JSON.
pub(super) fn single(json: &str, path: &[String]) -> Option<Value> {
    Finder { path }.deserialize(&mut serde_json::Deserializer::from_str(json)).ok().flatten()
}

/// Reads a value and returns what stands in it at the end of `path`.
#[derive(Clone, Copy)]
struct Finder<'p> {
    path: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Finder<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! visit_single_values {
    ($($visit:ident($type:ty)),+) => {
        $(fn $visit<E>(self, value: $type) -> Result<Option<Value>, E> {
            Ok(self.path.is_empty().then(|| value.into()))
        })+
    };
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = Option<Value>;

    visit_single_values!(visit_bool(bool), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        let next =
            self.path.split_first().and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
        let mut found = None;
        for at in 0_usize.. {
            let is_over = match next {
                Some((wanted, path)) if wanted == at => {
                    let item = items.next_element_seed(Finder { path })?;
                    item.map(|value| found = value).is_none()
                }
                _ => items.next_element::<IgnoredAny>()?.is_none(),
            };
            if is_over {
                break;
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Value>, A::Error> {
        let next = self.path.split_first();
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            match next {
                Some((wanted, path)) if *wanted == name => {
                    found = members.next_value_seed(Finder { path })?
                }
                _ => drop(members.next_value::<IgnoredAny>()?),
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
