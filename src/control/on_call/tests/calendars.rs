//! Calendars as programs write them, and as they should not be written.

use super::super::calendar::{CalendarError, turns};
use super::super::fetch::Window;
use super::super::persons::Found;
use super::*;
use crate::config::schedule::{CalendarSource, ScheduleSource};

const GOOGLE: &str = include_str!("../../../../tests/cases/calendars/google.ics");
const PAGERDUTY: &str = include_str!("../../../../tests/cases/calendars/pagerduty.ics");
const OUTLOOK: &str = include_str!("../../../../tests/cases/calendars/outlook.ics");

pub(super) fn source(more: &str) -> CalendarSource {
    let table = format!("[[schedule]]\nname = \"a\"\nsource = \"icalendar\"\nurl = \"https://c.test/\"\n{more}\n");
    let ScheduleSource::ICalendar(source) = schedules(&table).remove(0).source else { panic!() };
    source
}

/// An hour around `now`, read from lines that end as RFC 5545 wants and as editors leave them.
fn read_with(ics: &str, source: &CalendarSource, now: &str) -> Found {
    let now = at(now);
    let hour = Duration::from_secs(3_600);
    let window = Window { from: now.minus(hour), until: now.plus(hour) };
    let found = turns(ics.as_bytes(), source, window).unwrap();
    assert_eq!(turns(ics.replace('\n', "\r\n").as_bytes(), source, window).unwrap(), found);
    found
}

fn on_duty_with(ics: &str, source: &CalendarSource, now: &str) -> Vec<String> {
    let found = read_with(ics, source, now);
    let now = at(now);
    let covers = |turn: &&persons::Turn| turn.from.unwrap() <= now && now < turn.until.unwrap();
    let name = |handle: &persons::Handle| handle.email.clone().or(handle.id.clone()).unwrap();
    let mut names: Vec<String> = found.turns.iter().filter(covers).map(|turn| name(&turn.handle)).collect();
    names.sort();
    names
}

fn on_duty(ics: &str, now: &str) -> Vec<String> {
    on_duty_with(ics, &source(""), now)
}

/// One event of `lines`, with somebody in it.
fn event(lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:1\nATTENDEE:mailto:alice@x.test\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n"
    )
}

/// The event is not understood: nobody is on call by it, and it is counted.
fn is_unread(lines: &str, now: &str) {
    let found = read_with(&event(lines), &source(""), now);
    assert_eq!((found.turns.len(), found.unread), (0, 1), "{lines}");
}

#[test]
fn a_week_ends_at_nine_whatever_the_clocks_do() {
    // Alice from Monday 2 March, Bob from Monday 9 March, and so on in turns; the clocks change on 29 March and 25 October.
    for (now, expected) in [
        ("2026-03-02T07:59:59Z", &[][..]),
        ("2026-03-02T08:00:00Z", &["alice@example.com"]),
        ("2026-03-09T07:59:59Z", &["alice@example.com"]),
        ("2026-03-09T08:00:00Z", &["bob@example.com"]),
        ("2026-03-29T00:30:00Z", &["bob@example.com"]),
        ("2026-03-30T06:59:59Z", &["bob@example.com"]),
        ("2026-03-30T07:00:00Z", &["alice@example.com"]),
        ("2026-10-25T00:30:00Z", &["bob@example.com"]),
        ("2026-10-26T07:59:59Z", &["bob@example.com"]),
        ("2026-10-26T08:00:00Z", &["alice@example.com"]),
    ] {
        assert_eq!(on_duty(GOOGLE, now), expected, "{now}");
    }
}

#[test]
fn what_is_left_out_moved_or_cancelled_is_not_on_duty() {
    for (now, expected) in [
        ("2026-06-08T06:59:59Z", &["bob@example.com"][..]),
        ("2026-06-08T07:00:00Z", &[]),
        ("2026-06-12T12:00:00Z", &[]),
        ("2026-06-15T07:00:00Z", &["bob@example.com"]),
        ("2026-05-25T06:59:59Z", &["bob@example.com"]),
        ("2026-05-25T07:00:00Z", &["carol@example.com"]),
        ("2026-05-25T15:00:00Z", &[]),
        ("2026-12-28T09:00:00Z", &["bob@example.com"]),
    ] {
        assert_eq!(on_duty(GOOGLE, now), expected, "{now}");
    }
}

#[test]
fn a_whole_day_is_one_of_its_place() {
    for (now, expected) in [
        ("2026-12-23T22:59:59Z", &["bob@example.com"][..]),
        ("2026-12-23T23:00:00Z", &["bob@example.com", "erin@example.com"]),
        ("2026-12-26T22:59:59Z", &["alice@example.com", "erin@example.com"]),
        ("2026-12-26T23:00:00Z", &["alice@example.com"]),
    ] {
        let week = &["alice@example.com", "bob@example.com"];
        let covers: Vec<String> =
            on_duty(GOOGLE, now).into_iter().filter(|name| !week.contains(&name.as_str())).collect();
        let expected: Vec<&&str> = expected.iter().filter(|name| !week.contains(name)).collect();
        assert_eq!(covers.iter().collect::<Vec<_>>(), expected, "{now}");
    }
    let new_york = source("time_zone = \"America/New_York\"");
    assert!(!on_duty_with(GOOGLE, &new_york, "2026-12-24T04:59:59Z").contains(&"erin@example.com".to_owned()));
    assert!(on_duty_with(GOOGLE, &new_york, "2026-12-24T05:00:00Z").contains(&"erin@example.com".to_owned()));
    let floating = "DTSTART;VALUE=DATE:20261224";
    is_unread(floating, "2026-12-24T12:00:00Z");
    let berlin = source("time_zone = \"Europe/Berlin\"");
    assert_eq!(
        on_duty_with(&event(floating), &berlin, "2026-12-24T22:59:59Z"),
        ["alice@x.test"],
        "a day without an end"
    );
    assert_eq!(on_duty_with(&event(floating), &berlin, "2026-12-24T23:00:00Z").len(), 0);
}

#[test]
fn pagerduty_s_own_calendar_is_read() {
    for (now, expected) in [
        ("2026-11-23T07:59:59Z", &["jane@example.com"][..]),
        ("2026-11-23T08:00:00Z", &["john@example.com"]),
        ("2026-11-30T08:00:00Z", &[]),
    ] {
        assert_eq!(on_duty(PAGERDUTY, now), expected, "{now}");
    }
    let by_title = source("who = \"summary\"\nsummary_pattern = 'On Call - (.+?) - .*'");
    assert_eq!(on_duty_with(PAGERDUTY, &by_title, "2026-11-22T02:13:00Z"), ["Jane Doe"]);
    let by_another = source("who = \"summary\"\nsummary_pattern = 'Duty: (.+)'");
    let found = read_with(PAGERDUTY, &by_another, "2026-11-22T02:13:00Z");
    assert_eq!((found.turns.len(), found.unread), (0, 1), "of two events one is now, and names nobody");
}

#[test]
fn outlook_s_names_of_zones_are_known() {
    for (now, expected) in [
        ("2026-11-02T20:59:59Z", &[][..]),
        ("2026-11-02T21:00:00Z", &["Frank@Example.com"]),
        ("2026-11-03T05:00:00Z", &[]),
        ("2026-11-06T21:00:00Z", &["Frank@Example.com"]),
        ("2026-11-07T21:30:00Z", &[]),
    ] {
        assert_eq!(on_duty(OUTLOOK, now), expected, "{now}: the last begins at UNTIL, by its own clock");
    }
}

#[test]
fn a_time_that_is_skipped_or_comes_twice_is_read_as_the_standard_says() {
    let night = |day: &str| event(&format!("DTSTART;TZID=Europe/Berlin:{day}T023000\nDURATION:PT1H"));
    assert_eq!(on_duty(&night("20260329"), "2026-03-29T01:30:00Z"), ["alice@x.test"], "03:30, by the clock before");
    assert_eq!(on_duty(&night("20260329"), "2026-03-29T01:29:59Z").len(), 0);
    assert_eq!(on_duty(&night("20261025"), "2026-10-25T00:30:00Z"), ["alice@x.test"], "the first of the two");
    assert_eq!(on_duty(&night("20261025"), "2026-10-25T01:30:00Z").len(), 0, "an hour passes once");
    let daily = event("DTSTART;TZID=Europe/Berlin:20260327T023000\nDURATION:P1D\nRRULE:FREQ=DAILY");
    for now in ["2026-03-28T12:00:00Z", "2026-03-29T01:29:59Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"] {
        assert_eq!(on_duty(&daily, now), ["alice@x.test"], "{now}: no gap, and nobody twice");
    }
}

#[test]
fn rules_end_where_they_say() {
    let daily =
        |rule: &str| event(&format!("DTSTART;TZID=America/New_York:20261101T200000\nDURATION:PT2H\nRRULE:{rule}"));
    for (rule, last) in [
        ("FREQ=DAILY;COUNT=3", "2026-11-04T01:00:00Z"),
        ("FREQ=DAILY;UNTIL=20261104T010000Z", "2026-11-04T01:00:00Z"),
        ("FREQ=DAILY;UNTIL=20261104T005959Z", "2026-11-03T01:00:00Z"),
        ("FREQ=DAILY;UNTIL=20261103T200000", "2026-11-04T01:00:00Z"),
        ("FREQ=DAILY;INTERVAL=2;COUNT=2", "2026-11-04T01:00:00Z"),
    ] {
        assert_eq!(on_duty(&daily(rule), last), ["alice@x.test"], "{rule}");
        let next = at(last).plus(Duration::from_secs(86_400)).rfc3339();
        assert_eq!(on_duty(&daily(rule), &next).len(), 0, "{rule}");
    }
    assert_eq!(
        on_duty(&daily("FREQ=DAILY;UNTIL=20261031T000000Z"), "2026-11-02T01:00:00Z").len(),
        0,
        "before it began"
    );
    let added = event(
        "DTSTART:20261101T080000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY\nRDATE:20261104T080000Z,20261105T080000Z\nEXDATE:20261105T080000Z\nEXDATE;VALUE=DATE:20261108",
    );
    assert_eq!(on_duty(&added, "2026-11-04T08:30:00Z"), ["alice@x.test"]);
    assert_eq!(on_duty(&added, "2026-11-05T08:30:00Z").len(), 0, "added and left out");
    let dated = added.replace("ATTENDEE", "X-A").replace("UID:1", "UID:1\nATTENDEE:mailto:bob@x.test");
    assert_eq!(on_duty(&dated, "2026-11-15T08:30:00Z"), ["bob@x.test"]);
    assert_eq!(on_duty(&dated, "2026-11-08T08:30:00Z").len(), 0, "left out by its date alone");
}

#[test]
fn what_can_t_be_read_for_certain_puts_nobody_on_call() {
    let now = "2026-11-22T02:13:00Z";
    for lines in [
        "DTEND:20261201T000000Z",
        "DTSTART:yesterday\nDTEND:20261201T000000Z",
        "DTSTART:20261101T000000\nDTEND:20261201T000000",
        "DTSTART;TZID=Mars/Olympus:20261101T000000\nDTEND;TZID=Mars/Olympus:20261201T000000",
        "DTSTART:20261101T000000Z\nDTEND;TZID=Nowhere:20261201T000000",
        "DTSTART:20261101T000000Z\nDTEND:20281201T000000Z",
        "DTSTART:20261101T000000Z\nDURATION:-P1D",
        "DTSTART:20261101T000000Z\nDURATION:P900D",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nDTEND:20261201T000000Z",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=SOMETIMES",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=MINUTELY",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=SECONDLY;COUNT=1",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=DAILY;BYMONTHDAY=99",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY",
        "DTSTART:19000101T000000Z\nDURATION:P30D\nRRULE:FREQ=DAILY",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRRULE:FREQ=YEARLY;RSCALE=CHINESE",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nEXDATE:sometime",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRDATE;VALUE=PERIOD:20261110T000000Z/P1D",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261101T000000Z",
        "DTSTART:20261101T000000Z\nDURATION:P30D\nRECURRENCE-ID:20261101T000000Z\nRRULE:FREQ=DAILY",
    ] {
        is_unread(lines, now);
    }
    let good = "DTSTART:20261101T000000Z\nDURATION:P30D";
    assert_eq!(on_duty(&event(good), now), ["alice@x.test"], "but for those lines it is");
    for status in ["CANCELLED", "TENTATIVE", "WHATEVER"] {
        assert_eq!(
            read_with(&event(&format!("{good}\nSTATUS:{status}")), &source(""), now),
            Found::default(),
            "{status}"
        );
    }
    for attendee in [
        "ATTENDEE;PARTSTAT=DECLINED:mailto:bob@x.test",
        "ATTENDEE;PARTSTAT=DELEGATED:mailto:bob@x.test",
        "ATTENDEE;CUTYPE=ROOM:mailto:room@x.test",
        "ATTENDEE;CUTYPE=GROUP:mailto:all@x.test",
        "ATTENDEE;ROLE=NON-PARTICIPANT:mailto:bob@x.test",
        "ATTENDEE:urn:uuid:0-0",
        "ATTENDEE:mailto:bob@x.test@y.test",
        "ORGANIZER:mailto:bob@x.test",
    ] {
        assert_eq!(on_duty(&event(&format!("{good}\n{attendee}")), now), ["alice@x.test"], "{attendee}");
    }
    let told = event(&format!("{good}\nATTENDEE;EMAIL=bob@x.test:urn:uuid:0-0"));
    assert_eq!(on_duty(&told, now), ["alice@x.test", "bob@x.test"]);
}

#[test]
fn the_newest_version_of_a_moved_occurrence_counts() {
    let with = |events: &[&str]| {
        let event = |text: &&str| format!("BEGIN:VEVENT\nUID:1\n{text}\nEND:VEVENT\n");
        let events: String = events.iter().map(event).collect();
        format!("BEGIN:VCALENDAR\nVERSION:2.0\n{events}END:VCALENDAR\n")
    };
    let series = "DTSTART:20261101T080000Z\nDURATION:P1D\nRRULE:FREQ=DAILY\nATTENDEE:mailto:alice@x.test";
    let bob = "RECURRENCE-ID:20261122T080000Z\nSEQUENCE:1\nDTSTART:20261122T080000Z\nDURATION:P1D\nATTENDEE:mailto:bob@x.test";
    let carol = "RECURRENCE-ID:20261122T080000Z\nSEQUENCE:2\nDTSTART:20261122T080000Z\nDURATION:P1D\nATTENDEE:mailto:carol@x.test";
    let gone = "RECURRENCE-ID:20261122T080000Z\nSEQUENCE:3\nSTATUS:CANCELLED\nDTSTART:20261122T080000Z";
    let moved = "RECURRENCE-ID:20261122T080000Z\nSEQUENCE:4\nDTSTART:20261201T120000Z\nDURATION:PT1H\nATTENDEE:mailto:bob@x.test";
    let now = "2026-11-22T12:00:00Z";
    assert_eq!(on_duty(&with(&[series]), now), ["alice@x.test"]);
    assert_eq!(on_duty(&with(&[series, bob]), now), ["bob@x.test"]);
    assert_eq!(on_duty(&with(&[carol, series, bob]), now), ["carol@x.test"], "in whatever order");
    assert_eq!(on_duty(&with(&[series, bob, carol, gone]), now).len(), 0);
    assert_eq!(on_duty(&with(&[series, moved, bob]), now).len(), 0);
    assert_eq!(on_duty(&with(&[series, moved]), "2026-12-01T12:30:00Z"), ["alice@x.test", "bob@x.test"]);
    let other = with(&[series]).replace("END:VCALENDAR\n", "")
        + &with(&[bob]).replace("UID:1", "UID:2").replace("BEGIN:VCALENDAR\nVERSION:2.0\n", "");
    assert_eq!(on_duty(&other, now), ["alice@x.test", "bob@x.test"], "it is of another series");
    let broken = "RECURRENCE-ID;TZID=Mars/Olympus:20261122T080000\nDTSTART:20261122T080000Z";
    let found = read_with(&with(&[series, broken]), &source(""), now);
    assert_eq!((found.turns.len(), found.unread), (0, 1), "whose turn it takes is not known");
}

#[test]
fn what_is_no_whole_calendar_is_no_answer() {
    let window = Window { from: at("2026-11-22T00:00:00Z"), until: at("2026-11-23T00:00:00Z") };
    let read = |body: &[u8]| turns(body, &source(""), window);
    let whole = event("DTSTART:20261101T000000Z\nDURATION:P30D");
    assert_eq!(read(whole.as_bytes()).unwrap().turns.len(), 1);
    assert_eq!(read(format!("\u{feff}{whole}").as_bytes()).unwrap().turns.len(), 1);
    for end in 0..whole.trim_end().len() {
        assert_eq!(read(&whole.as_bytes()[..end]), Err(CalendarError::NotACalendar), "cut at {end}");
    }
    for body in [
        &b"<html><body>Sign in</body></html>"[..],
        b"{\"error\":\"not found\"}\nEND:VCALENDAR",
        b"BEGIN:VCARD\nEND:VCARD\nEND:VCALENDAR",
        b"BEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR",
        b"\xff\xfeBEGIN:VCALENDAR\nEND:VCALENDAR",
        b"END:VCALENDAR",
    ] {
        assert_eq!(read(body), Err(CalendarError::NotACalendar), "{body:?}");
    }
    assert_eq!(read(b"BEGIN:VCALENDAR\nEND:VCALENDAR").unwrap(), Found::default(), "nobody is on call");
}

#[test]
fn calendars_are_bounded() {
    let window = Window { from: at("2026-11-22T00:00:00Z"), until: at("2026-11-23T00:00:00Z") };
    let read =
        |events: String| turns(format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n").as_bytes(), &source(""), window);
    let many = "BEGIN:VEVENT\nDTSTART:20200101T000000Z\nEND:VEVENT\n".repeat(20_001);
    assert_eq!(read(many), Err(CalendarError::TooManyEvents));
    let people: String = (0..200).map(|n| format!("ATTENDEE:mailto:p{n}@x.test\n")).collect();
    let crowd = format!("BEGIN:VEVENT\nDTSTART:20261122T000000Z\nDURATION:P1D\n{people}END:VEVENT\n");
    assert_eq!(read(crowd.repeat(51)), Err(CalendarError::TooManyTurns));
    assert_eq!(read(crowd.repeat(50)).unwrap().turns.len(), 10_000);
    let never = "BEGIN:VEVENT\nDTSTART:20200230T000000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30\nEND:VEVENT\n";
    assert_eq!(read(never.to_owned()).unwrap().turns.len(), 0, "a rule without an occurrence comes to an end");
    let deep = "BEGIN:VEVENT\n".repeat(10_000) + &"END:VEVENT\n".repeat(10_000);
    assert!(read(deep).is_ok());
}
