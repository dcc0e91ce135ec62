//! Another revision of the policy brings other schedules.

use super::server::Reply;
use super::*;

fn rota(name: &str) -> Reply {
    Reply::ok(format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:1\nDTSTART:20261101T000000Z\nDTEND:20261201T000000Z\n\
         SUMMARY:Duty\nATTENDEE:mailto:{name}@x.test\nEND:VEVENT\nEND:VCALENDAR\n"
    ))
}

#[tokio::test]
async fn what_is_unchanged_goes_on_as_it_is() {
    let (one, two) = (Server::start(rota("alice")).await, Server::start(rota("bob")).await);
    let secondary = |server: &Server, more: &str| calendar(server, more).replace("primary", "secondary");
    let bench = Bench::start(&calendar(&one, "")).ready().await;
    let primary = Arc::clone(&bench.on_call.all()[0]);
    bench.on_call.follow(&schedules(&(calendar(&one, "") + &secondary(&two, ""))));
    assert!(Arc::ptr_eq(&primary, &bench.on_call.all()[0]));
    let of_secondary = |name: &str| bench.on_call.is_on_call("secondary", &person(name), &[], bench.clock.now());
    assert_eq!(of_secondary("bob@x.test"), Standing::Unknown { fallback_group: None, as_of: None });
    assert!(bench.is_on_call("alice@x.test"));

    bench.on_call.follow(&schedules(
        &(calendar(&one, "person_prefix = \"x:\"\nfallback_group = \"leads\"") + &secondary(&two, "")),
    ));
    assert!(bench.is_on_call("x:alice@x.test"), "the same source by other names: nothing is forgotten");
    assert!(!bench.is_on_call("alice@x.test"));
    bench.on_call.follow(&schedules(&calendar(&two, "")));
    assert_eq!(
        bench.standing("alice@x.test"),
        Standing::Unknown { fallback_group: None, as_of: None },
        "another source"
    );
    assert!(!of_secondary("bob@x.test").is_on_call(), "it is gone");
    bench.on_call.follow(&[]);
    assert_eq!(bench.on_call.health(bench.clock.now()), []);
    assert_eq!(bench.on_call.schedules_of(&person("alice@x.test"), &[], bench.clock.now()), []);
}

#[tokio::test]
async fn the_background_follows_too() {
    let (one, two) = (Server::start(rota("alice")).await, Server::start(rota("bob")).await);
    let bench = Bench::start(&calendar(&one, ""));
    let mut attempts = bench.on_call.attempts();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&bench.on_call).run(async { drop(stopped.await) }));
    attempts.wait_for(|attempts| *attempts == 1).await.unwrap();
    assert!(bench.is_on_call("alice@x.test"));
    bench.on_call.follow(&schedules(&calendar(&two, "")));
    attempts.wait_for(|attempts| *attempts == 2).await.unwrap();
    assert!(bench.is_on_call("bob@x.test") && !bench.is_on_call("alice@x.test"));
    bench.on_call.follow(&schedules(&calendar(&two, "")));
    bench.on_call.follow(&schedules(&(calendar(&two, "") + &calendar(&one, "").replace("primary", "secondary"))));
    attempts.wait_for(|attempts| *attempts == 3).await.unwrap();
    assert_eq!((one.asked().len(), two.asked().len()), (2, 1), "what is unchanged is not asked again");
    drop(stop);
    running.await.unwrap();
}
