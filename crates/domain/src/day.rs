//! Days and months of the calendar, as people name them: `2026-10-31`, `2026-10`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Serialize, Serializer};

/// Days begin and end in these years, so that every one has a day before and after it.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=9998;

/// A day of the calendar. Where it begins depends on the time zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(Date);

/// The text is no day.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a day such as 2026-10-31")]
pub struct DayError;

/// A month of the calendar, counted from January 1970: the last is April 7431.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month(u16);

/// The text is no month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a month such as 2026-10")]
pub struct MonthError;

impl Day {
    pub(crate) fn of(date: Date) -> Self {
        Self(date)
    }

    pub(crate) fn date(self) -> Date {
        self.0
    }

    /// The day after it.
    pub fn next(self) -> Self {
        self.0.tomorrow().map_or(self, Self)
    }

    /// The day so many days before it.
    pub fn minus(self, days: u16) -> Self {
        self.0.checked_sub(jiff::Span::new().days(i64::from(days))).map_or(self, Self)
    }

    /// How many days there are from this one up to another, exclusively; none when the other is not later.
    pub fn days_until(self, end: Self) -> u32 {
        let span = self.0.until(end.0).map_or(0, |span| span.get_days());
        u32::try_from(span).unwrap_or(0)
    }
}

impl Month {
    /// Months since January 1970.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A number of so many digits, and nothing else.
fn digits(text: Option<&str>, count: usize) -> Option<i16> {
    let text = text.filter(|text| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let mut parts = text.splitn(3, '-');
        let (year, month, day) = (digits(parts.next(), 4), digits(parts.next(), 2), digits(parts.next(), 2));
        let date = year.filter(|year| YEARS.contains(year)).zip(month).zip(day);
        let date = date.and_then(|((year, month), day)| Date::new(year, month as i8, day as i8).ok());
        date.map(Self).ok_or(DayError)
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let mut parts = text.splitn(2, '-');
        let (year, month) = (digits(parts.next(), 4), digits(parts.next(), 2));
        let (Some(year), Some(month @ 1..=12)) = (year, month) else { return Err(MonthError) };
        let months = (i32::from(year) - 1970) * 12 + i32::from(month) - 1;
        u16::try_from(months).map(Self).map_err(|_| MonthError)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", 1970 + self.0 / 12, self.0 % 12 + 1)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_read_as_they_are_written() {
        let day: Day = "2028-02-28".parse().unwrap();
        assert_eq!((day.to_string(), day.next().to_string()), ("2028-02-28".to_owned(), "2028-02-29".to_owned()));
        assert_eq!((day.next().minus(30).to_string().as_str(), day.minus(30).days_until(day)), ("2028-01-30", 30));
        assert_eq!((day.days_until(day), day.days_until(day.minus(1))), (0, 0));
        let month: Month = "1971-03".parse().unwrap();
        assert_eq!((month.to_string().as_str(), month.number()), ("1971-03", 14));
        for bad in ["", "2026", "2026-2-03", "2026-02-30", "2026-02-3x", "1969-12-31", "9999-01-01", "+026-01-01"] {
            assert_eq!(bad.parse::<Day>(), Err(DayError), "{bad}");
        }
        for edge in ["1970-01", "7431-04"] {
            assert_eq!(edge.parse::<Month>().unwrap().to_string(), edge);
        }
        let bads =
            ["", "2026", "2026-13", "2026-00", "2026-1", "2026-01-01", "1969-12", "7431-05", "9998-12", "２０２６-01"];
        for bad in bads {
            assert_eq!(bad.parse::<Month>(), Err(MonthError), "{bad}");
        }
    }
}
