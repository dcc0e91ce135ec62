//! Weekly rules, against a reference that walks day by day and looks for each time on the wall minute by minute.

use std::collections::BTreeSet;

use calcard::common::timezone::Tz;
use chrono::{Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Weekday};
use proptest::prelude::*;

use super::super::calendar::turns;
use super::super::fetch::Window;
use super::calendars::source;
use super::*;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"];
const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

#[derive(Debug, Clone)]
struct Weekly {
    zone: &'static str,
    start: NaiveDateTime,
    hours: i64,
    interval: i64,
    /// From Monday; the day of the beginning is one of them, as RFC 5545 wants.
    days: BTreeSet<u32>,
    begins_on_sunday: bool,
    end: End,
    /// Days after the beginning that are left out.
    left_out: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum End {
    Never,
    Count(usize),
    /// Days after the beginning.
    Until(u64),
}

fn weekly() -> impl Strategy<Value = Weekly> {
    let start = (0..900_u64, 0..24_u32, prop_oneof![Just(0), Just(30), 0..60_u32]).prop_map(|(day, hour, minute)| {
        let date = NaiveDate::from_ymd_opt(2024, 6, 1).unwrap().checked_add_days(Days::new(day)).unwrap();
        date.and_time(NaiveTime::from_hms_opt(hour, minute, 0).unwrap())
    });
    let end = prop_oneof![Just(End::Never), (1..60_usize).prop_map(End::Count), (0..400_u64).prop_map(End::Until)];
    let days = prop::collection::btree_set(0..7_u32, 0..7);
    let left_out = prop::collection::btree_set(0..200_u64, 0..20);
    (prop::sample::select(&ZONES[..]), start, 1..200_i64, 1..5_i64, days, any::<bool>(), end, left_out).prop_map(
        |(zone, start, hours, interval, mut days, begins_on_sunday, end, left_out)| {
            days.insert(start.weekday().num_days_from_monday());
            Weekly { zone, start, hours, interval, days, begins_on_sunday, end, left_out }
        },
    )
}

impl Weekly {
    fn tz(&self) -> Tz {
        self.zone.parse().unwrap()
    }

    fn ics(&self) -> String {
        let local = |naive: NaiveDateTime| naive.format("%Y%m%dT%H%M%S").to_string();
        let days: Vec<&str> = self.days.iter().map(|day| DAYS[*day as usize]).collect();
        let week = if self.begins_on_sunday { "SU" } else { "MO" };
        let end = match self.end {
            End::Never => String::new(),
            End::Count(count) => format!(";COUNT={count}"),
            End::Until(days) => {
                let last = first_on_the_wall(self.tz(), self.start.checked_add_days(Days::new(days)).unwrap());
                let utc = chrono::DateTime::from_timestamp_millis(last.unix_ms()).unwrap();
                format!(";UNTIL={}", utc.format("%Y%m%dT%H%M%SZ"))
            }
        };
        let left_out = self.left_out.iter().map(|day| self.start.checked_add_days(Days::new(*day)).unwrap());
        let left_out: String = left_out.map(|at| format!("EXDATE;TZID={}:{}\n", self.zone, local(at))).collect();
        format!(
            "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:1\nATTENDEE:mailto:alice@x.test\n\
             DTSTART;TZID={zone}:{start}\nDTEND;TZID={zone}:{finish}\n\
             RRULE:FREQ=WEEKLY;INTERVAL={interval};BYDAY={days};WKST={week}{end}\n{left_out}END:VEVENT\nEND:VCALENDAR\n",
            zone = self.zone,
            start = local(self.start),
            finish = local(self.start + TimeDelta::hours(self.hours)),
            interval = self.interval,
            days = days.join(","),
        )
    }

    /// Beginning and end of every occurrence that touches the window.
    fn reference(&self, window: Window) -> BTreeSet<(WallTime, WallTime)> {
        let first_day = if self.begins_on_sunday { Weekday::Sun } else { Weekday::Mon };
        let week_of = |date: NaiveDate| date.week(first_day).first_day();
        let first_week = week_of(self.start.date());
        let mut expected = BTreeSet::new();
        let mut counted = 0;
        for day in 0.. {
            let naive = self.start.checked_add_days(Days::new(day)).unwrap();
            let weeks = (week_of(naive.date()) - first_week).num_days() / 7;
            let ended = match self.end {
                End::Never => false,
                End::Count(count) => counted >= count,
                End::Until(days) => day > days,
            };
            if ended || naive.and_utc().timestamp_millis() > window.until.unix_ms() + 2 * 86_400_000 {
                return expected;
            }
            if weeks % self.interval != 0 || !self.days.contains(&naive.weekday().num_days_from_monday()) {
                continue;
            }
            counted += 1;
            let far = naive.and_utc().timestamp_millis() < window.from.unix_ms() - 15 * 86_400_000;
            if far || self.left_out.contains(&day) {
                continue;
            }
            let until = first_on_the_wall(self.tz(), naive + TimeDelta::hours(self.hours));
            let from = first_on_the_wall(self.tz(), naive);
            if from < window.until && until > window.from && from < until {
                expected.insert((from, until));
            }
        }
        unreachable!()
    }
}

/// The first minute at which the wall shows `naive`; where none does, `naive` by the clock of the day before.
fn first_on_the_wall(zone: Tz, naive: NaiveDateTime) -> WallTime {
    let shown = |utc: NaiveDateTime| zone.from_utc_datetime(&utc).naive_local();
    let minutes = (-15 * 60..=15 * 60).map(|minute| naive + TimeDelta::minutes(minute));
    let utc = minutes.into_iter().find(|utc| shown(*utc) == naive).unwrap_or_else(|| {
        let before = naive - TimeDelta::days(1);
        let ahead = (-15 * 60..=15 * 60).find(|minute| shown(before - TimeDelta::minutes(*minute)) == before).unwrap();
        naive - TimeDelta::minutes(ahead)
    });
    WallTime::from_unix_ms(utc.and_utc().timestamp_millis())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rules_agree_with_a_walk_day_by_day(weekly in weekly(), after in 0..500_i64, days in 1..15_i64) {
        let from = weekly.start.and_utc().timestamp_millis() + (after - 10) * 86_400_000;
        let window =
            Window { from: WallTime::from_unix_ms(from), until: WallTime::from_unix_ms(from + days * 86_400_000) };
        let found = turns(weekly.ics().as_bytes(), &source(""), window).unwrap();
        prop_assert_eq!(found.unread, 0);
        let count = found.turns.len();
        let found: BTreeSet<_> = found.turns.iter().map(|turn| (turn.from.unwrap(), turn.until.unwrap())).collect();
        prop_assert_eq!(count, found.len(), "nothing twice");
        prop_assert_eq!(found, weekly.reference(window), "{}", weekly.ics());
    }

    #[test]
    fn no_text_is_too_strange(lines in prop::collection::vec("(BEGIN:VEVENT|END:VEVENT|DTSTART[;:][ -~]{0,20}|RRULE:FREQ=[A-Z]{5,7};[A-Z]{5,10}=-?[0-9,]{1,9}|DTSTART:20261101T0[0-9]0000Z|DURATION:P[0-9]{1,9}[DW]|EXDATE:[ -~]{0,20}|[ -~]{0,40})", 0..40)) {
        let window = Window { from: at("2026-11-22T00:00:00Z"), until: at("2026-11-23T00:00:00Z") };
        let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{}\nEND:VEVENT\nEND:VCALENDAR", lines.join("\n"));
        let _ = turns(text.as_bytes(), &source("time_zone = \"Europe/Berlin\""), window);
    }
}
