//! What has been counted and until when each part of it counts, in a few bytes: there may be very many counters, each
//! of them with up to 61 parts.

use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;

/// An amount that counts until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub until: Timestamp,
    /// Never negative.
    pub amount: Decimal,
}

impl Part {
    /// The end of what counts as long as its session lives.
    pub const OPEN: Timestamp = Timestamp(i64::MAX);
}

/// Parts in the order in which they end, no two of which end together.
///
/// Each is two numbers in seven bits a byte: how much later it ends than the one before it, and its amount, of which
/// the zeros at the end are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Box<[u8]>);

impl Tally {
    /// What counts at `now`; None when that is more than a [`Decimal`] holds.
    pub fn sum(&self, now: Timestamp) -> Option<Decimal> {
        self.parts(now).try_fold(Decimal::ZERO, |sum, part| sum.checked_add(part.amount))
    }

    /// The parts that count at `now`.
    pub fn parts(&self, now: Timestamp) -> impl Iterator<Item = Part> {
        Parts { bytes: &self.0, until: 0 }.filter(move |part| part.until > now)
    }

    /// When nothing counts any more; None when nothing does.
    pub fn end(&self) -> Option<Timestamp> {
        Parts { bytes: &self.0, until: 0 }.last().map(|part| part.until)
    }

    /// When no more than `most` counts, if ever.
    pub fn at_most(&self, most: Decimal, now: Timestamp) -> Option<Timestamp> {
        let mut sum = self.sum(now)?;
        let mut at = now;
        for part in self.parts(now) {
            if sum <= most {
                break;
            }
            sum = sum.checked_sub(part.amount)?;
            at = part.until;
        }
        (sum <= most && at != Part::OPEN).then_some(at)
    }

    /// Counts `part` from now on, and forgets what counts no more.
    pub fn add(&mut self, part: Part, now: Timestamp) {
        self.change(now, part.until, |counted| match counted {
            // More than a number holds stays as much as one holds, which no limit allows.
            Some(amount) => amount.checked_add(part.amount).unwrap_or(Decimal::MAX),
            None => part.amount,
        });
    }

    /// Takes back what [`Tally::add`] counted.
    pub fn take_back(&mut self, part: Part) {
        self.change(Timestamp(i64::MIN), part.until, |counted| {
            counted.and_then(|amount| amount.checked_sub(part.amount)).unwrap_or_default()
        });
    }

    /// Keeps the smallest amount that was given for this moment, and forgets what counts no more.
    pub fn begin(&mut self, part: Part, now: Timestamp) {
        self.change(now, part.until, |counted| counted.map_or(part.amount, |amount| amount.min(part.amount)));
    }

    /// Bytes that it takes beside itself.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing that is not above zero stays.
    fn change(&mut self, now: Timestamp, until: Timestamp, change: impl FnOnce(Option<Decimal>) -> Decimal) {
        let mut parts: Vec<Part> = self.parts(now).collect();
        let place = parts.partition_point(|part| part.until < until);
        match parts.get_mut(place).filter(|part| part.until == until) {
            Some(part) => part.amount = change(Some(part.amount)),
            None => parts.insert(place, Part { until, amount: change(None) }),
        }
        parts.retain(|part| part.amount > Decimal::ZERO);
        self.0 = packed(&parts);
    }
}

struct Parts<'t> {
    bytes: &'t [u8],
    until: i64,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let later = i64::try_from(take_number(&mut self.bytes)?).unwrap_or(i64::MAX);
        self.until = self.until.saturating_add(later);
        let amount = take_number(&mut self.bytes)?;
        let zeros = u32::try_from(amount % ZEROS).unwrap_or_default();
        let units = (amount / ZEROS).saturating_mul(10_u128.pow(zeros));
        let amount = Decimal::of_units(i128::try_from(units).unwrap_or(i128::MAX));
        Some(Part { until: Timestamp(self.until), amount })
    }
}

/// One more than the most zeros that are counted: whole numbers end with nine.
const ZEROS: u128 = 10;

fn packed(parts: &[Part]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(parts.len().saturating_mul(5));
    let mut before = 0;
    for part in parts {
        put_number(&mut bytes, u128::try_from(part.until.0.saturating_sub(before)).unwrap_or_default());
        before = part.until.0;
        let (mut units, mut zeros) = (part.amount.units().unsigned_abs(), 0);
        while zeros < ZEROS - 1 && units != 0 && units.is_multiple_of(10) {
            (units, zeros) = (units / 10, zeros + 1);
        }
        put_number(&mut bytes, units.saturating_mul(ZEROS).saturating_add(zeros));
    }
    bytes.into_boxed_slice()
}

/// LEB128.
fn put_number(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

fn take_number(bytes: &mut &[u8]) -> Option<u128> {
    let mut number = 0;
    for shift in (0..u128::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn part(until: i64, amount: &str) -> Part {
        Part { until: Timestamp(until), amount: decimal(amount) }
    }

    fn sum(tally: &Tally, now: i64) -> String {
        tally.sum(Timestamp(now)).unwrap().to_string()
    }

    #[test]
    fn counts_until_its_end_and_no_longer() {
        let mut tally = Tally::default();
        tally.add(part(200, "1"), Timestamp(0));
        tally.add(part(100, "0.5"), Timestamp(0));
        tally.add(part(200, "2"), Timestamp(0));
        let counted = [0, 99, 100, 199, 200].map(|now| sum(&tally, now));
        assert_eq!(counted, ["3.5", "3.5", "3", "3", "0"]);
        assert_eq!(tally.parts(Timestamp(0)).collect::<Vec<_>>(), [part(100, "0.5"), part(200, "3")]);
        assert_eq!(tally.end(), Some(Timestamp(200)));
        tally.add(part(300, "7"), Timestamp(200));
        assert_eq!(tally.parts(Timestamp(0)).collect::<Vec<_>>(), [part(300, "7")]);
    }

    #[test]
    fn what_is_taken_back_was_never_counted() {
        let mut tally = Tally::default();
        tally.add(part(100, "0.1"), Timestamp(0));
        tally.add(part(100, "0.2"), Timestamp(0));
        tally.take_back(part(100, "0.1"));
        assert_eq!(sum(&tally, 0), "0.2");
        tally.take_back(part(100, "0.2"));
        tally.take_back(part(100, "0.2"));
        assert_eq!(tally, Tally::default());
        assert_eq!((tally.end(), tally.is_empty()), (None, true));
    }

    #[test]
    fn a_beginning_is_the_earliest() {
        let mut tally = Tally::default();
        for at in ["12.5", "11", "13"] {
            tally.begin(part(100, at), Timestamp(0));
        }
        assert_eq!(sum(&tally, 0), "11");
    }

    #[test]
    fn says_when_there_is_room() {
        let mut tally = Tally::default();
        for (until, amount) in [(100, "2"), (200, "3"), (i64::MAX, "5")] {
            tally.add(part(until, amount), Timestamp(0));
        }
        let room = |most: &str| tally.at_most(decimal(most), Timestamp(50)).map(|at| at.0);
        assert_eq!(
            [room("10"), room("9"), room("8"), room("5")],
            [Some(50), Some(100), Some(100), Some(200)]
        );
        assert_eq!(room("4"), None, "a session has no end that is known");
        assert_eq!(room("-1"), None);
    }

    #[test]
    fn any_amount_comes_back_as_it_was() {
        let amounts = [
            "1",
            "10",
            "61",
            "0.000000001",
            "0.3",
            "123.456",
            "9007199254740991",
            "170141183460469231731687303715",
        ];
        let mut tally = Tally::default();
        let mut expected = Vec::new();
        for (place, amount) in (1..).zip(amounts) {
            tally.add(part(place * 1_796_123_456_789, amount), Timestamp(0));
            expected.push(part(place * 1_796_123_456_789, amount));
        }
        assert_eq!(tally.parts(Timestamp(0)).collect::<Vec<_>>(), expected);
        tally.add(expected[7], Timestamp(0));
        let most = tally.parts(Timestamp(0)).last().unwrap().amount;
        assert_eq!((most, tally.sum(Timestamp(0))), (Decimal::MAX, None));
    }

    #[test]
    fn an_hour_of_calls_takes_few_bytes() {
        let mut tally = Tally::default();
        for minute in 0..61 {
            tally.add(part(1_796_000_000_000 + minute * 60_000, "12"), Timestamp(0));
        }
        assert_eq!((tally.parts(Timestamp(0)).count(), tally.size()), (61, 61 * 5 + 3));
    }
}
