//! Money in exact integers.

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// US dollars in units of 10^-9 dollar: one token of a small model costs 5 to 600 of them, and not always a whole number, see
/// [`Usd::priced_per`]. At most [`Usd::MAX`].
///
/// Serialized as a JSON number of dollars, which reads back as the same amount: up to [`Usd::MAX`] the error of the
/// nearest `f64` stays below half a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = f64)]
pub struct Usd(u64);

impl Usd {
    pub const ZERO: Self = Self(0);

    /// A million dollars: far beyond what any campaign may cost.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// `None` for a negative, non-finite or absurd amount.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let nanos = (dollars * 1e9).round();
        (0.0..=Self::MAX.0 as f64).contains(&nanos).then_some(Self(nanos as u64))
    }

    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(count)))
    }

    /// An equal part of it for each of `count`, rounded down; all of it for one or none.
    pub fn shared_by(self, count: u32) -> Self {
        Self(self.0 / u64::from(count.max(1)))
    }

    /// What goods cost of which each has a price for `per` pieces, and the number of pieces. Rounded up to a whole unit,
    /// once for all of them.
    ///
    /// # Panics
    ///
    /// Where `per` is 0.
    pub fn priced_per(per: u64, goods: &[(Self, u64)]) -> Self {
        let times_per: u128 = goods.iter().map(|(price, pieces)| u128::from(price.0) * u128::from(*pieces)).sum();
        let units = times_per.div_ceil(u128::from(per));
        u64::try_from(units).map_or(Self::MAX, |units| Self(units).min(Self::MAX))
    }

    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `None` beyond [`Usd::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self).filter(|sum| *sum <= Self::MAX)
    }

    /// `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// Stays at [`Usd::MAX`] beyond it, which is over every budget too.
impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.checked_add(other).unwrap_or(Self::MAX)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0 && self.0 < 10_000_000 {
            write!(f, "${:.6}", self.dollars())
        } else {
            write!(f, "${:.2}", self.dollars())
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_dollars(f64::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("an amount of dollars is a number from 0 to 1000000"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_amount_reads_back_to_the_last_unit(nanos in prop_oneof![0..=Usd::MAX.0, Usd::MAX.0 - 9..=Usd::MAX.0]) {
            let json = serde_json::to_string(&Usd(nanos)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), Usd(nanos));
        }
    }

    #[test]
    fn what_is_priced_by_the_thousand_is_rounded_up_and_never_wraps() {
        let price = Usd(999);
        assert_eq!(Usd::priced_per(1_000, &[(price, 1)]), Usd(1));
        assert_eq!(Usd::priced_per(1_000, &[(price, 1_000), (Usd(1), 1_000)]), Usd(1_000));
        assert_eq!(Usd::priced_per(1_000, &[(price, 500), (Usd(1), 500)]), Usd(500));
        assert_eq!(Usd::priced_per(1_000, &[]), Usd::ZERO);
        assert_eq!(Usd::priced_per(1, &[(Usd::MAX, u64::MAX)]), Usd::MAX);
    }

    #[test]
    fn no_amount_is_negative_or_above_the_maximum() {
        for dollars in [-1e-8, 1_000_000.000_001, f64::INFINITY, f64::NAN] {
            assert_eq!(Usd::from_dollars(dollars), None, "{dollars}");
        }
        let cent = Usd(10_000_000);
        assert_eq!(Usd::MAX.checked_add(cent), None);
        assert_eq!(Usd::MAX + cent, Usd::MAX);
        assert_eq!(Usd::ZERO.checked_sub(cent), None);
        assert_eq!((cent + cent).checked_sub(cent), Some(cent));
    }
}
