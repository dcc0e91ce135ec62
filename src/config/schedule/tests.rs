//! Tables of schedules, right and wrong.

use std::path::Path;

use super::*;
use crate::config::reader;

fn read(text: &str) -> Result<Vec<ScheduleConfig>, String> {
    reader::parse(Path::new("p.toml"), text, |root| Some(read_schedules(root))).map_err(|error| error.to_string())
}

fn one(text: &str) -> ScheduleConfig {
    read(&format!("[[schedule]]\nname = \"primary\"\n{text}")).unwrap().remove(0)
}

fn mistakes(text: &str) -> String {
    read(&format!("[[schedule]]\nname = \"primary\"\n{text}")).unwrap_err()
}

const PAGERDUTY: &str = "source = \"pagerduty\"\nschedule = \"PI7DH85\"\ntoken_file = \"pagerduty.token\"\n";
const CALENDAR: &str = "source = \"icalendar\"\nurl = \"https://cal.test/a.ics\"\n";

#[test]
fn no_schedule_is_no_mistake() {
    assert_eq!(read("").unwrap(), []);
}

#[test]
fn what_is_left_out_has_its_usual_value() {
    let schedule = one(PAGERDUTY);
    assert_eq!(schedule.fallback_group, None);
    assert_eq!((schedule.refresh.as_secs(), schedule.stale_max.as_secs()), (60, 3600));
    assert_eq!(schedule.persons.rule, PersonRule::Email);
    let ScheduleSource::PagerDuty(source) = schedule.source else { panic!("{:?}", schedule.source) };
    assert_eq!(source.url, "https://api.pagerduty.com");

    let opsgenie =
        one("source = \"opsgenie\"\nschedule = \"a-b\"\ntoken_file = \"t\"\nurl = \"https://api.eu.opsgenie.com/\"");
    assert_eq!(opsgenie.stale_max.as_secs(), 900, "it has no times of shifts");
    let ScheduleSource::Opsgenie(source) = opsgenie.source else { panic!("{:?}", opsgenie.source) };
    assert_eq!(source.url, "https://api.eu.opsgenie.com");

    let calendar = one(CALENDAR);
    let ScheduleSource::ICalendar(source) = calendar.source else { panic!("{:?}", calendar.source) };
    assert_eq!((source.who, source.authorization, source.time_zone), (WhoRule::Attendee, None, None));
    assert_eq!(one(&format!("{PAGERDUTY}refresh_s = 3600")).stale_max.as_secs(), 7200);
}

#[test]
fn everything_can_be_said() {
    let schedule = one(
        "source = \"icalendar\"\nurl_file = \"primary.url\"\ntoken_file = \"nextcloud\"\nauthorization = \"basic\"\n\
         who = \"summary\"\nsummary_pattern = 'On Call - (.+) - .*'\ntime_zone = \"Europe/Berlin\"\nca = \"corp.pem\"\n\
         person = \"login\"\nemail_domain = \"example.com\"\nperson_prefix = \"corp:\"\nfallback_group = \"leads\"\n\
         refresh_s = 120\nstale_max_s = 7200\n[schedule.persons]\n\"Jane Doe\" = \"corp:jane\"\n",
    );
    assert_eq!(schedule.ca.as_ref().map(CredentialName::as_str), Some("corp.pem"));
    assert_eq!(schedule.persons.exact["Jane Doe"].as_str(), "corp:jane");
    assert_eq!(schedule.persons.rule, PersonRule::Login { domain: "example.com".to_owned() });
    let ScheduleSource::ICalendar(source) = &schedule.source else { panic!("{schedule:?}") };
    assert!(matches!(&source.place, CalendarPlace::UrlFile(name) if name.as_str() == "primary.url"));
    assert_eq!(source.authorization.as_ref().unwrap().scheme, AuthorizationScheme::Basic);
    let WhoRule::Summary(pattern) = &source.who else { panic!("{source:?}") };
    assert_eq!(pattern.find("On Call - Jane Doe - Payments"), Some("Jane Doe"));
    assert_eq!(pattern.find("Lunch: On Call - Jane Doe - Payments"), None, "the whole title");
    assert_eq!(schedule, schedule.clone());
}

#[test]
fn every_mistake_is_reported_at_once() {
    let report = read(
        r#"
[[schedule]]
name = "Payments Primary"
source = "pagerduty"
url = "http://api.pagerduty.com"
schedule = "a/b?c"
token_file = "../keys/grant-root.pk8"
person = "login"
refresh_s = 5
stale_max_s = 900
fallback_group = ""
shedule = "x"

[[schedule]]
name = "other"
source = "icalendar"
url = "webcal://user:secret@cal.test/a"
url_file = "u"
who = "summary"
time_zone = "Europe/Paris-Nord"
authorization = "digest"
person = "id"
persons = { "a@b" = 7, "b@c" = "two words" }

[[schedule]]
name = "other"
source = "opsgenie"
schedule = "x"
token_file = "t"
person = "id"
refresh_s = 60
stale_max_s = 60

[[schedule]]
source = "rota"
whatever = 1
"#,
    )
    .unwrap_err();
    let expected = r#"p.toml:2:1: schedule[0].email_domain: is missing
p.toml:3:8: schedule[0].name: must be 1 to 63 of a-z, 0-9, '-' and '_'
p.toml:5:7: schedule[0].url: http is for this machine only (use https)
p.toml:6:12: schedule[0].schedule: must be the schedule's id: 1 to 64 letters, digits, '-' and '_'
p.toml:7:14: schedule[0].token_file: must be the name of a file in the control plane's credentials folder: no path, letters, digits, '.', '-' and '_'
p.toml:9:13: schedule[0].refresh_s: must be from 15 to 3600
p.toml:11:18: schedule[0].fallback_group: must not be empty
p.toml:12:1: schedule[0].shedule: unknown key (did you mean "schedule"?)
p.toml:14:1: schedule[1].token_file: is missing
p.toml:14:1: schedule[1].summary_pattern: is missing
p.toml:17:7: schedule[1].url: must begin with https:// (write https in place of webcal)
p.toml:17:7: schedule[1].url: must not carry a user or a password (use token_file)
p.toml:18:12: schedule[1].url_file: stands beside url (keep one of them)
p.toml:20:13: schedule[1].time_zone: is no name of the IANA time zones
p.toml:21:17: schedule[1].authorization: must be one of "bearer", "basic"
p.toml:23:21: schedule[1].persons."a@b": must hold strings, not integer
p.toml:23:32: schedule[1].persons."b@c": a person is visible ASCII without spaces
p.toml:30:10: schedule[2].person: this source names its people by their addresses only (use "email")
p.toml:32:15: schedule[2].stale_max_s: must be at least twice refresh_s
p.toml:34:1: schedule[3].name: is missing
p.toml:35:10: schedule[3].source: must be one of "pagerduty", "opsgenie", "icalendar""#;
    assert_eq!(report, expected);
}

#[test]
fn a_name_stands_once() {
    let twice = format!("[[schedule]]\nname = \"a\"\n{PAGERDUTY}[[schedule]]\nname = \"a\"\n{PAGERDUTY}");
    assert!(read(&twice).unwrap_err().contains("schedule[1].name: \"a\" stands twice"));
}

#[test]
fn an_address_in_the_clear_is_this_machine_s() {
    for url in ["http://127.0.0.1:8080/a.ics", "http://localhost/a", "http://[::1]/a", "https://cal.test/a?token=1"] {
        one(&format!("source = \"icalendar\"\nurl = \"{url}\"\n"));
    }
    for url in ["http://cal.test/a", "http://10.0.0.1/a", "http://localhost.test/a", "ftp://localhost/a", "/a"] {
        assert!(mistakes(&format!("source = \"icalendar\"\nurl = \"{url}\"\n")).contains("schedule[0].url"), "{url}");
    }
    assert!(mistakes(&format!("{PAGERDUTY}url = \"https://a.test/?x\"")).contains("must not have a query"));
}

#[test]
fn a_credential_is_a_name_and_never_a_path() {
    for bad in ["", "/etc/shadow", "../x", "a/b", "..", ".hidden", "a\\\\b", "a b", "ä"] {
        let text = format!("source = \"opsgenie\"\nschedule = \"x\"\ntoken_file = \"{bad}\"\n");
        assert!(mistakes(&text).contains("token_file: must be the name"), "{bad:?}");
    }
}

#[test]
fn a_pattern_has_one_group_and_can_t_leave_its_own() {
    let pattern = |text: &str| text.parse::<SummaryPattern>();
    assert!(pattern("On call: .*").unwrap_err().contains("exactly one group"));
    assert!(pattern("(a)(b)").unwrap_err().contains("exactly one group"));
    assert!(pattern("(?:a)(?<who>b)").is_ok());
    assert!(pattern("a)|(?:(.*)").is_err());
    assert!(pattern("(a{1000}){1000}").is_err(), "its size is bounded");
    assert_eq!(pattern("(.+) on call").unwrap().find("  Jane  on call"), Some("Jane"));
}

#[test]
fn a_table_alone_needs_a_table() {
    assert!(mistakes(&format!("{PAGERDUTY}person = \"table\"")).contains("needs this table"));
    let schedule = one(&format!("{PAGERDUTY}person = \"table\"\npersons = {{ \"P1\" = \"alice\" }}"));
    assert_eq!(schedule.persons.exact.len(), 1);
}
