//! What is said of a grant once holds.

use std::num::NonZeroU32;

use super::*;
use crate::domain::{Authentication, Binding, Justification, Origin, Scope};
use crate::sidecar::standing::Beat;

fn grant(expires_s: i64) -> Grant {
    Grant {
        id: "g-0123456789ab".parse().unwrap(),
        service: "s".parse().unwrap(),
        person: "alice".parse().unwrap(),
        idp: "https://issuer.test".parse().unwrap(),
        authentication: Authentication::default(),
        role: "r".parse().unwrap(),
        scope: Scope::new(["c/1".parse().unwrap()], ["a.b".parse().unwrap()]).unwrap(),
        binding: Binding::Identity,
        confirmation: None,
        justification: Justification { reason: "x".parse().unwrap(), ticket: "T-1".parse().unwrap() },
        issued: WallTime::from_unix_s(1000),
        not_before: WallTime::from_unix_s(1000),
        expires: WallTime::from_unix_s(expires_s),
        max_uses: None,
        staleness_max: Duration::from_secs(30),
        policy_revision: 1,
        approvals: vec![],
        origin: Origin::ControlPlane,
    }
}

fn boot(s: u64) -> BootTime {
    BootTime::from_duration(Duration::from_secs(s))
}

#[test]
fn asking_before_the_first_heartbeat_does_not_end_a_grant() {
    let (table, standing) = (GrantTable::default(), Standing::default());
    table.put(grant(1060), [0; 32], "k", 0, None);
    let live = table.by_token(&[0; 32]).unwrap();
    assert_eq!(live.deadline(&standing).boot, BootTime::ZERO);
    let beat = |sent: u64, server: i64| Beat {
        ping_sent: boot(sent),
        server_time: WallTime::from_unix_s(server),
        as_of: WallTime::from_unix_s(server),
        local_wall: WallTime::from_unix_s(server),
    };
    standing.note(beat(10, 1000));
    assert_eq!(live.deadline(&standing).boot, boot(70));
    standing.note(beat(20, 900));
    assert_eq!(live.deadline(&standing).boot, boot(70), "a server's clock set back extends nothing");
    standing.note(beat(30, 1050));
    assert_eq!(live.deadline(&standing).boot, boot(40));
}

#[test]
fn a_wall_clock_set_forward_and_back_ends_a_grant_for_good() {
    let (table, standing) = (GrantTable::default(), Standing::default());
    table.put(grant(1060), [0; 32], "k", 0, None);
    let live = table.by_token(&[0; 32]).unwrap();
    let at = |boot_s: u64, wall_s: i64| Moment { boot: boot(boot_s), wall: WallTime::from_unix_s(wall_s) };
    standing.note(Beat {
        ping_sent: boot(10),
        server_time: WallTime::from_unix_s(1000),
        as_of: WallTime::from_unix_s(1000),
        local_wall: WallTime::from_unix_s(1000),
    });
    assert!(!live.deadline_at(&standing, at(20, 1010)).has_passed(at(20, 1010)));
    assert!(live.deadline_at(&standing, at(21, 4611)).has_passed(at(21, 4611)));
    assert!(live.deadline_at(&standing, at(22, 1012)).has_passed(at(22, 1012)), "set right again, it stays over");
}

#[test]
fn uses_are_asked_for_at_once_and_then_now_and_then() {
    let table = GrantTable::default();
    table.put(grant(1060), [0; 32], "k", 0, None);
    let live = table.by_token(&[0; 32]).unwrap();
    let at = |ms: u64| BootTime::from_duration(Duration::from_millis(ms));
    let asked = |from: u64, until: u64| (from..until).filter(|ms| live.may_want(at(*ms))).count();
    assert_eq!(asked(1_000, 1_000 + WANTED_EVERY_MS), 1);
    assert_eq!(asked(1_000 + WANTED_EVERY_MS, 2_000 + WANTED_EVERY_MS), 1_000 / WANTED_EVERY_MS as usize);
    live.allot(2);
    assert!(live.may_want(at(2_001 + WANTED_EVERY_MS)), "what was allotted is gone too");
}

#[test]
fn what_has_ended_stays_ended() {
    let table = GrantTable::default();
    table.put(grant(1060), [0; 32], "k", 0, None);
    let live = table.by_id(&"g-0123456789ab".parse().unwrap()).unwrap();
    live.end(GrantStanding::Revoked);
    live.end(GrantStanding::UsedUp);
    live.end(GrantStanding::Live);
    table.put(grant(1060), [0; 32], "k", 0, None);
    assert_eq!(table.by_token(&[0; 32]).unwrap().standing(), GrantStanding::Revoked);
}

#[test]
fn what_is_put_again_has_the_uses_and_the_deadline_it_had() {
    let (table, standing) = (GrantTable::default(), Standing::default());
    table.put(Grant { max_uses: NonZeroU32::new(3), ..grant(1060) }, [0; 32], "k", 0, None);
    let first = table.by_token(&[0; 32]).unwrap();
    first.share().allot(3);
    assert!(first.spend());
    let beat = |sent: u64, server: i64| Beat {
        ping_sent: boot(sent),
        server_time: WallTime::from_unix_s(server),
        as_of: WallTime::from_unix_s(server),
        local_wall: WallTime::from_unix_s(server),
    };
    standing.note(beat(10, 1000));
    assert_eq!(first.deadline(&standing).boot, boot(70));
    table.suspend(first.grant().as_ref().clone(), [0; 32], "k", 0);
    assert_eq!(first.standing(), GrantStanding::Suspended);
    let since = WallTime::from_unix_s(1005);
    table.put(first.grant().as_ref().clone(), [0; 32], "k", 0, Some(since));
    let again = table.by_token(&[0; 32]).unwrap();
    assert!(Arc::ptr_eq(&again, &table.by_id(&again.grant().id).unwrap()));
    assert_eq!((again.standing(), again.spent()), (GrantStanding::Live, 1));
    assert_ne!(first.standing(), GrantStanding::Live, "what ran under it is cut for good");
    standing.note(beat(20, 900));
    assert_eq!(again.deadline(&standing).boot, boot(70), "and its deadline is no later");
    assert!(!again.takes_proof_of(Some(since)) && !again.takes_proof_of(None));
    assert!(again.takes_proof_of(Some(WallTime::from_unix_s(1006))));
}

#[test]
fn a_grant_that_is_first_heard_of_as_suspended_is_never_live() {
    let table = GrantTable::default();
    table.suspend(grant(1060), [0; 32], "k", 0);
    assert_eq!(table.by_token(&[0; 32]).unwrap().standing(), GrantStanding::Suspended);
    table.by_token(&[0; 32]).unwrap().end(GrantStanding::Revoked);
    table.suspend(grant(1060), [0; 32], "k", 0);
    table.put(grant(1060), [0; 32], "k", 0, None);
    assert_eq!(table.by_token(&[0; 32]).unwrap().standing(), GrantStanding::Revoked);
}
