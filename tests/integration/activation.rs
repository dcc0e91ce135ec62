//! Sockets passed by a service manager: told apart by name or address, all of them served, and what is unfit named.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use breakglass::sidecar::listener::bind;
use serde_json::Value;

use crate::harness::{Program, Raw, SidecarFile, Site, Start, raw_request, readyz, until};

fn socket() -> (TcpListener, SocketAddr) {
    let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn serves(site: &Site, address: SocketAddr) {
    for _ in 0..8 {
        let mut raw = Raw::open(address, &site.path().join("ca.pem")).await;
        raw.write(&raw_request("POST", "/v1/echo", &[], "x")).await;
        assert_eq!(raw.answer().await.code(), "pass");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_socket_serves_many_workers_and_many_sockets_one() {
    let site = Site::start().await;
    for (workers, sockets) in [(3, 1), (1, 3)] {
        let file = site.sidecar_file(&SidecarFile { workers, ..SidecarFile::default() });
        let (passed, addresses): (Vec<_>, Vec<_>) = (0..sockets).map(|_| socket()).unzip();
        // A socket that stays open elsewhere keeps what is connected before anybody serves.
        let early = tokio::net::TcpStream::connect(addresses[0]).await.unwrap();
        let start = passed.into_iter().fold(Start::new(&file), Start::pass);
        let process = start.serving().await;
        for address in &addresses {
            serves(&site, *address).await;
        }
        assert_eq!(process.address(), addresses[0]);
        drop(early);
        process.until_overrides().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_go_by_name_and_the_address_in_the_file_need_not_be_theirs() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let ((admin, admin_address), (https, https_address)) = (socket(), socket());
    let process =
        Start::new(&file).environment("LISTEN_FDNAMES", "admin:https").pass(admin).pass(https).serving().await;
    assert_eq!((process.address(), process.admin()), (https_address, admin_address));
    serves(&site, https_address).await;
    let (status, ready) = readyz(admin_address).await.unwrap();
    assert_eq!((status, &ready["ready"]), (200, &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_sockets_held_elsewhere_refuses_nobody() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let (held, address) = socket();
    let start = || Start::new(&file).pass(held.try_clone().unwrap()).environment("LISTEN_FDNAMES", "https");
    let mut first = start().serving().await;
    serves(&site, address).await;
    first.signal("TERM");
    assert!(first.ended().await.success(), "{}", first.said.text());
    // Nobody serves, and yet a client is connected: it waits in the backlog.
    let waiting = tokio::net::TcpStream::connect(address).await.unwrap();
    let second = start().serving().await;
    serves(&site, address).await;
    drop(waiting);
    second.until_overrides().await;
}

async fn refusal(process: &mut Program) -> String {
    assert_eq!(process.ended().await.code(), Some(1));
    until("its last word", async || {
        let text = process.said.text();
        let last = text.lines().rev().find(|line| line.contains("breakglass-sidecar:"))?;
        Some(serde_json::from_str::<Value>(last).unwrap().as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_served_is_a_start_error_that_names_it() {
    let site = Site::start().await;
    let file = site.sidecar_file(&SidecarFile::default());
    let unlistening = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    unlistening.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let unfit: [(OwnedFd, &str); 4] = [
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "descriptor 4 (\"https\")"),
        (UnixListener::bind(site.path().join("s.sock")).unwrap().into(), "descriptor 4 (\"https\")"),
        (std::fs::File::open(&file).unwrap().into(), "descriptor 4 (\"https\")"),
        (unlistening.into(), "does not listen"),
    ];
    for (fd, expected) in unfit {
        let start = Start::new(&file).pass(socket().0).pass(fd).environment("LISTEN_FDNAMES", "https:https");
        let said = refusal(&mut start.spawn()).await;
        assert!(said.contains(expected), "{said}");
    }
    let start = Start::new(&file).pass(socket().0).pass(socket().0).environment("LISTEN_FDNAMES", "admin:admin");
    assert!(refusal(&mut start.spawn()).await.contains("two sockets were passed for \"admin\""));
}
