//! Whatever is lost, late or repeated, over however many replicas, and whichever of them dies: what all sidecars believe
//! they may spend never sums above the limit, and nothing is lost for good while everybody is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::{mpsc, watch};

use self::book::{Book, Shelf};
use crate::clock::{Clock, ManualClock};
use crate::control::feed::admission::door;
use crate::control::feed::assertion_keys::Desk;
use crate::control::feed::audit::AuditIntake;
use crate::control::feed::delivery::{Delivery, Room, opening};
use crate::control::feed::freshness::Reading;
use crate::control::feed::hub::{Command, Hub, Stream};
use crate::control::feed::lines::Outbox;
use crate::control::feed::service::ServiceFeeds;
use crate::control::feed::shares::Shares;
use crate::control::feed::source::FeedStore;
use crate::control::feed::{AssertionKeys, Certifier, FeedLimits};
use crate::domain::{BootTime, GrantId, Moment, WallTime};
use crate::store::contract::{Admission, StreamClaim};
use crate::wire::feed::{AuditPosition, FromControl, FromSidecar, Subscribe};

mod book;

const SIDECARS: usize = 3;
const REPLICAS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new stream, at whichever replica; what the old one had under way towards control may still arrive.
    Connect {
        sidecar: usize,
        replica: usize,
        resume: bool,
    },
    /// The sidecar's end is gone; control does not know.
    Lose {
        sidecar: usize,
    },
    Spend {
        sidecar: usize,
    },
    Ask {
        sidecar: usize,
    },
    /// Control does its next task for the stream: what came of an errand, a question, or what was committed.
    Tell {
        sidecar: usize,
    },
    /// The sidecar reads a chunk.
    Hear {
        sidecar: usize,
    },
    /// Control reads a line.
    Obey {
        sidecar: usize,
    },
    /// Control reads a line of a stream that the sidecar has left.
    Late,
    /// A replica reads the newest revision.
    Read {
        replica: usize,
    },
    /// A replica reports, and hears what the others reported and asked.
    Exchange {
        replica: usize,
    },
    /// A replica dies with all it had under way, and another takes its place.
    Crash {
        replica: usize,
    },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let (sidecar, replica) = (0..SIDECARS, 0..REPLICAS);
    prop_oneof![
        2 => (sidecar.clone(), replica.clone(), any::<bool>())
            .prop_map(|(sidecar, replica, resume)| Step::Connect { sidecar, replica, resume }),
        1 => sidecar.clone().prop_map(|sidecar| Step::Lose { sidecar }),
        6 => sidecar.clone().prop_map(|sidecar| Step::Spend { sidecar }),
        6 => sidecar.clone().prop_map(|sidecar| Step::Ask { sidecar }),
        10 => sidecar.clone().prop_map(|sidecar| Step::Tell { sidecar }),
        10 => sidecar.clone().prop_map(|sidecar| Step::Hear { sidecar }),
        10 => sidecar.prop_map(|sidecar| Step::Obey { sidecar }),
        4 => Just(Step::Late),
        6 => replica.clone().prop_map(|replica| Step::Read { replica }),
        6 => replica.clone().prop_map(|replica| Step::Exchange { replica }),
        1 => replica.prop_map(|replica| Step::Crash { replica }),
        2 => Just(Step::Wait),
    ]
}

/// One side of a stream at control, with what is under way on it.
struct Link {
    replica: usize,
    stream: Arc<Stream>,
    commands: mpsc::Receiver<Command>,
    delivery: Delivery<Book>,
    chunks: mpsc::Receiver<Bytes>,
    said: VecDeque<FromSidecar>,
    /// What an errand brought and was not sent yet: questions wait for it.
    owed: Option<u32>,
}

#[derive(Default)]
struct Sidecar {
    /// What it believes it may spend in all.
    limit: u32,
    spent: u32,
    last_revision: u64,
    link: Option<Link>,
}

impl Sidecar {
    fn say(&mut self, line: FromSidecar) {
        if let Some(link) = &mut self.link {
            link.said.push_back(line);
        }
    }

    fn hear(&mut self, line: FromControl, grant: &GrantId) {
        self.last_revision = self.last_revision.max(line.revision().unwrap_or(0));
        match line {
            FromControl::Share { allotted, .. } => self.limit = allotted,
            FromControl::ShareRecall { keep, .. } => {
                self.limit = self.limit.min(self.spent.max(keep));
                self.say(FromSidecar::ShareReturned { grant: grant.clone(), allotted: self.limit });
            }
            _ => {}
        }
    }
}

/// A control plane.
struct Replica {
    room: Arc<Room<Book>>,
    readings: watch::Sender<Option<Reading>>,
    batch: u64,
}

impl Replica {
    async fn start(shelf: &Arc<Shelf>, clock: &Arc<ManualClock>, id: String) -> Self {
        let hub = Hub::new(Clock::Manual(Arc::clone(clock)), FeedLimits::default());
        let store = Arc::new(shelf.open(id));
        hub.restore(store.as_ref()).await.unwrap();
        let keys = Arc::new(Vec::new());
        let certifier: Certifier = Arc::new(|_| Box::pin(async { Ok(Default::default()) }));
        let (readings, newest) = watch::channel(None);
        let (admissions, _) = door(1);
        let room = Arc::new(Room {
            shares: Shares::new(Arc::clone(&store), Arc::clone(&hub)),
            desk: Desk::new(AssertionKeys { certifier, validity: Duration::ZERO }, hub.clock().clone()),
            hub,
            store,
            keys: Arc::new(move || Arc::clone(&keys)),
            feeds: ServiceFeeds::default(),
            admissions,
            readings: newest,
            audit: AuditIntake::new(&FeedLimits::default()),
        });
        let mut replica = Self { room, readings, batch: 0 };
        replica.exchange().await;
        replica.read().await;
        replica
    }

    async fn read(&self) {
        let began = self.room.hub.clock().now();
        let revision = self.room.store.newest_revision().await.unwrap();
        self.readings.send_replace(Some(Reading { revision, began }));
        // The book answers at once, so a few turns of the runtime let everything be read on.
        for _ in 0..6 {
            tokio::task::yield_now().await;
        }
    }

    async fn exchange(&mut self) {
        let Room { hub, store, shares, .. } = self.room.as_ref();
        self.batch += 1;
        store.report(self.batch, &hub.take_report(store.replica(), false)).await.unwrap();
        hub.take_in(store.hearsay(&hub.reports_read()).await.unwrap());
        shares.pass_on().await.unwrap();
    }
}

struct World {
    clock: Arc<ManualClock>,
    shelf: Arc<Shelf>,
    replicas: Vec<Replica>,
    /// Replicas that were ever started.
    started: usize,
    grant: GrantId,
    max_uses: u32,
    sidecars: Vec<Sidecar>,
    late: VecDeque<(usize, Arc<Stream>, VecDeque<FromSidecar>)>,
}

impl World {
    async fn new(max_uses: u32, replicas: usize) -> Self {
        let clock = ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::EPOCH });
        let grant = GrantId::from_random(1);
        let shelf = Shelf::new(grant.clone(), max_uses, Arc::clone(&clock));
        let sidecars = (0..SIDECARS).map(|_| Sidecar::default()).collect();
        let (replicas_none, late) = (Vec::new(), VecDeque::new());
        let mut world = Self { clock, shelf, replicas: replicas_none, started: 0, grant, max_uses, sidecars, late };
        for _ in 0..replicas {
            let replica = world.replica().await;
            world.replicas.push(replica);
        }
        world
    }

    async fn replica(&mut self) -> Replica {
        self.started += 1;
        Replica::start(&self.shelf, &self.clock, format!("replica-{}", self.started)).await
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Connect { sidecar, replica, resume } => self.connect(sidecar, replica, resume).await,
            Step::Lose { sidecar } => self.lose(sidecar),
            Step::Spend { sidecar } => self.spend(sidecar),
            Step::Ask { sidecar } => self.sidecars[sidecar].say(FromSidecar::ShareWanted { grant: self.grant.clone() }),
            Step::Tell { sidecar } => self.tell(sidecar).await,
            Step::Hear { sidecar } => self.hear(sidecar),
            Step::Obey { sidecar } => self.obey(sidecar).await,
            Step::Late => self.hear_late().await,
            Step::Read { replica } => self.replicas[replica].read().await,
            Step::Exchange { replica } => self.replicas[replica].exchange().await,
            Step::Crash { replica } => self.crash(replica).await,
            Step::Wait => self.clock.advance(Duration::from_secs(3)),
        }
    }

    async fn connect(&mut self, at: usize, replica: usize, resume: bool) {
        self.lose(at);
        let sidecar = &self.sidecars[at];
        let room = &self.replicas[replica].room;
        let subscribe = Subscribe {
            service: "payments".parse().unwrap(),
            instance: format!("sidecar-{at}").parse().unwrap(),
            version: String::new(),
            service_digest: String::new(),
            epoch: resume.then_some(room.store.epoch().to_owned()),
            last_revision: resume.then_some(sidecar.last_revision),
            lineage: format!("lineage-{at}"),
            spent: [(self.grant.clone(), sidecar.spent)].into(),
            audit: AuditPosition::default(),
        };
        let claim = StreamClaim {
            service: subscribe.service.clone(),
            instance: subscribe.instance.clone(),
            lineage: subscribe.lineage.clone(),
            version: String::new(),
            service_digest: String::new(),
            audit: AuditPosition::default(),
        };
        let admitted = room.store.admit(&[claim]).await.unwrap();
        let Admission::Begun(generation) = admitted[0] else { panic!("{admitted:?}") };
        let (stream, commands) = room.hub.begin(&subscribe, room.store.replica(), generation).unwrap();
        room.store.record_spent(&self.grant, &stream.holder, sidecar.spent).await.unwrap();
        let opening = opening(room, &subscribe).await.unwrap();
        let (out, chunks) = Outbox::new(10_000, 1, Duration::from_secs(1));
        let stream = Arc::new(stream);
        let mut delivery = Delivery::new(Arc::clone(room), Arc::clone(&stream), out, &opening);
        delivery.open(opening.into_beginning()).await.unwrap();
        let link = Link { replica, stream, commands, delivery, chunks, said: VecDeque::new(), owed: None };
        self.sidecars[at].link = Some(link);
    }

    fn lose(&mut self, at: usize) {
        if let Some(link) = self.sidecars[at].link.take() {
            self.late.push_back((link.replica, link.stream, link.said));
        }
    }

    async fn crash(&mut self, replica: usize) {
        for at in 0..SIDECARS {
            if self.sidecars[at].link.as_ref().is_some_and(|link| link.replica == replica) {
                self.sidecars[at].link = None;
            }
        }
        self.late.retain(|(on, _, _)| *on != replica);
        self.replicas[replica] = self.replica().await;
    }

    fn spend(&mut self, at: usize) {
        let sidecar = &mut self.sidecars[at];
        if sidecar.spent < sidecar.limit {
            sidecar.spent += 1;
            let spent = sidecar.spent;
            sidecar.say(FromSidecar::Spent { grant: self.grant.clone(), spent });
        }
    }

    async fn tell(&mut self, at: usize) {
        let Some(link) = &mut self.sidecars[at].link else { return };
        if let Some(allotted) = link.owed.take() {
            link.delivery.restate(self.grant.clone(), allotted).await.unwrap();
            return;
        }
        if let Ok(Command::Recall(recall)) = link.commands.try_recv() {
            link.delivery.recall(*recall);
        }
        link.delivery.catch_up().await.unwrap();
    }

    fn hear(&mut self, at: usize) {
        let sidecar = &mut self.sidecars[at];
        let Some(chunk) = sidecar.link.as_mut().and_then(|link| link.chunks.try_recv().ok()) else { return };
        for line in chunk.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            sidecar.hear(serde_json::from_slice(line).unwrap(), &self.grant);
        }
    }

    fn hear_all(&mut self, at: usize) {
        while self.sidecars[at].link.as_ref().is_some_and(|link| !link.chunks.is_empty()) {
            self.hear(at);
        }
    }

    async fn obey(&mut self, at: usize) {
        let Some(link) = &mut self.sidecars[at].link else { return };
        // Errands are run one after the other.
        if link.owed.is_some() {
            return;
        }
        let Some(line) = link.said.pop_front() else { return };
        link.owed = heard(&self.replicas[link.replica].room, &link.stream, line).await;
    }

    async fn hear_late(&mut self) {
        let Some((replica, stream, mut said)) = self.late.pop_front() else { return };
        if let Some(line) = said.pop_front() {
            heard(&self.replicas[replica].room, &stream, line).await;
            self.late.push_back((replica, stream, said));
        }
    }

    async fn check(&self) {
        let believed: u32 = self.sidecars.iter().map(|sidecar| sidecar.limit.max(sidecar.spent)).sum();
        assert!(believed <= self.max_uses, "sidecars believe in {believed} of {}", self.max_uses);
        let booked = self.shelf.booked().await;
        assert!(booked <= self.max_uses, "the book holds {booked} of {}", self.max_uses);
    }

    async fn settle(&mut self) {
        for _ in 0..10 {
            for replica in &mut self.replicas {
                replica.exchange().await;
                replica.read().await;
            }
            for at in 0..SIDECARS {
                self.tell(at).await;
                self.hear_all(at);
                self.obey(at).await;
                self.check().await;
            }
        }
    }
}

/// Does what the line asks for; what is to be restated to the sidecar.
async fn heard(room: &Room<Book>, stream: &Stream, line: FromSidecar) -> Option<u32> {
    let holder = &stream.holder;
    match line {
        FromSidecar::ShareWanted { grant } => return room.shares.wanted(holder, &grant).await.unwrap(),
        FromSidecar::ShareReturned { grant, allotted } => {
            room.shares.returned(holder, &grant, allotted).await.unwrap();
        }
        FromSidecar::Spent { grant, spent } => {
            room.store.record_spent(&grant, holder, spent).await.unwrap();
        }
        _ => {}
    }
    None
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_never_sum_above_the_limit(
        max_uses in 1_u32..12,
        issued_after in 0_usize..30,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        run(async {
            let mut world = World::new(max_uses, REPLICAS).await;
            let mut steps = steps.into_iter();
            for step in steps.by_ref().take(issued_after) {
                world.take(step).await;
            }
            world.shelf.issue().await;
            for step in steps {
                world.take(step).await;
                world.check().await;
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_that_asks_gets_all_once_everybody_is_there(
        max_uses in 1_u32..8,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        run(async {
            let mut world = World::new(max_uses, REPLICAS).await;
            world.shelf.issue().await;
            for step in steps {
                world.take(step).await;
            }
            for at in 0..SIDECARS {
                world.connect(at, at % REPLICAS, at % 2 == 0).await;
            }
            world.settle().await;
            for _ in 0..2 * max_uses + 6 {
                world.take(Step::Wait).await;
                world.take(Step::Ask { sidecar: 0 }).await;
                world.settle().await;
                world.take(Step::Spend { sidecar: 0 }).await;
            }
            let spent: u32 = world.sidecars.iter().map(|sidecar| sidecar.spent).sum();
            assert_eq!(spent, max_uses);
        });
    }
}

/// Two sidecars at different replicas with four uses each, of which the first has spent its own and asked for more.
async fn one_asks_the_other() -> World {
    let mut world = World::new(8, 2).await;
    for at in 0..2 {
        world.connect(at, at, false).await;
    }
    world.shelf.issue().await;
    world.settle().await;
    assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (4, 4));
    for _ in 0..4 {
        world.spend(0);
        world.obey(0).await;
    }
    world.take(Step::Ask { sidecar: 0 }).await;
    world.obey(0).await;
    world.replicas[1].exchange().await;
    world
}

#[test]
fn a_share_on_its_way_arrives_before_it_is_asked_back() {
    run(async {
        let mut world = one_asks_the_other().await;
        world.tell(1).await;
        world.hear_all(1);
        world.obey(1).await;
        // The first now holds 6 and has not heard of it, when the second spends what it kept and asks.
        for _ in 0..2 {
            world.spend(1);
            world.obey(1).await;
        }
        world.take(Step::Ask { sidecar: 1 }).await;
        world.obey(1).await;
        world.replicas[0].exchange().await;
        world.tell(0).await;
        world.hear_all(0);
        assert!(world.sidecars[0].link.as_ref().unwrap().said.is_empty(), "what was allotted has not been read here");
        world.replicas[0].read().await;
        world.tell(0).await;
        world.hear_all(0);
        world.obey(0).await;
        world.settle().await;
        assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (5, 3));
    });
}

#[test]
fn an_answer_on_a_stream_that_is_no_more_moves_nothing() {
    run(async {
        for elsewhere in 0..2 {
            let mut world = one_asks_the_other().await;
            world.tell(1).await;
            world.hear_all(1);
            assert_eq!(world.sidecars[1].limit, 2, "it gave back, and its answer is on the way");
            world.connect(1, elsewhere, true).await;
            world.hear_all(1);
            assert_eq!(world.sidecars[1].limit, 4, "the new stream says what it holds");
            world.hear_late().await;
            world.settle().await;
            assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (4, 4));
        }
    });
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_the_newer_stream() {
    run(async {
        let mut world = one_asks_the_other().await;
        world.tell(1).await;
        world.hear_all(1);
        world.connect(1, 0, true).await;
        world.hear_all(1);
        // The question is asked anew, and the answer to the first arrives before it is passed on.
        world.take(Step::Wait).await;
        world.take(Step::Ask { sidecar: 0 }).await;
        world.obey(0).await;
        world.hear_late().await;
        world.replicas[0].read().await;
        world.tell(0).await;
        world.hear_all(0);
        assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (4, 4));
        world.settle().await;
        assert_eq!((world.sidecars[0].limit, world.sidecars[1].limit), (6, 2));
    });
}

#[test]
fn a_stream_that_went_on_elsewhere_ends_here() {
    run(async {
        let mut world = one_asks_the_other().await;
        let hub = Arc::clone(&world.replicas[1].room.hub);
        assert_eq!(hub.connected(), 1);
        world.connect(1, 0, true).await;
        assert_eq!(hub.connected(), 1, "it has not heard of it");
        for replica in &mut world.replicas {
            replica.exchange().await;
        }
        assert_eq!((hub.connected(), world.replicas[0].room.hub.connected()), (0, 2));
    });
}
