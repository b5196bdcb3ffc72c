//! Numbers of JSON, by their value.

use std::cmp::Ordering;

use serde_json::Number;

/// Compares two numbers without rounding either. serde_json holds no number that is infinite or none at all.
pub(crate) fn compare(a: &Number, b: &Number) -> Ordering {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(whole), None) => compare_fraction(fraction(b), whole).reverse(),
        (None, Some(whole)) => compare_fraction(fraction(a), whole),
        (None, None) => fraction(a).partial_cmp(&fraction(b)).unwrap_or(Ordering::Equal),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn fraction(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

fn compare_fraction(a: f64, whole: i128) -> Ordering {
    // The cast is exact for all but numbers that are larger than any `whole`; there it stays at the end of the range.
    let floor = a.floor();
    match (floor as i128).cmp(&whole) {
        Ordering::Equal if a > floor => Ordering::Greater,
        ordering => ordering,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn no_kind_of_number_is_rounded() {
        // In ascending order, each alone in its line.
        let all: Vec<Vec<Value>> = vec![
            vec![json!(f64::MIN)],
            vec![json!(-9.3e18)],
            vec![json!(i64::MIN), json!(-9_223_372_036_854_775_808.0)],
            vec![json!(-9_007_199_254_740_993_i64)],
            vec![json!(-9_007_199_254_740_992_i64), json!(-9_007_199_254_740_992.0)],
            vec![json!(-1.5)],
            vec![json!(-1), json!(-1.0)],
            vec![json!(-0.5)],
            vec![json!(-f64::MIN_POSITIVE)],
            vec![json!(0), json!(0.0), json!(-0.0)],
            vec![json!(5e-324)],
            vec![json!(0.1)],
            vec![json!(0.1 + 0.2 - 0.2)],
            vec![json!(0.3)],
            vec![json!(0.1 + 0.2)],
            vec![json!(1), json!(1.0), json!(1u64)],
            vec![json!(100)],
            vec![json!(100.000_000_000_000_01)],
            vec![json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_992.0)],
            vec![json!(9_007_199_254_740_993_i64)],
            vec![json!(i64::MAX)],
            vec![json!(9_223_372_036_854_775_808_u64), json!(9_223_372_036_854_775_808.0)],
            vec![json!(u64::MAX)],
            vec![json!(18_446_744_073_709_551_616.0)],
            vec![json!(f64::MAX)],
        ];
        for (i, left) in all.iter().enumerate() {
            for (j, right) in all.iter().enumerate() {
                for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
                    let (a, b) = (a.as_number().unwrap(), b.as_number().unwrap());
                    assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
                }
            }
        }
    }
}
