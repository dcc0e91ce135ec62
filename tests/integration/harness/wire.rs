//! The wire between a control plane and its database: a relay that the test cuts, hangs and mends.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing is passed on, and nobody is told.
    Hung,
    /// Connections break, and new ones are closed at once.
    Cut,
}

/// See the module.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Wire {
    /// Relays to a Unix socket.
    pub(crate) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, way) = (listener.local_addr().unwrap(), watch::Sender::new(Way::Open));
        let ways = way.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, socket.clone(), ways.clone()));
            }
        });
        Self { address, way }
    }

    pub(crate) fn hang(&self) {
        self.way.send_replace(Way::Hung);
    }

    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    pub(crate) fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn connection(near: TcpStream, socket: PathBuf, ways: watch::Receiver<Way>) {
    let (mut opening, mut cutting) = (ways.clone(), ways.clone());
    let relayed = async {
        open(&mut opening).await;
        let Ok(far) = UnixStream::connect(&socket).await else { return };
        near.set_nodelay(true).unwrap();
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = relay(near_in, far_out, ways.clone()) => {}
            () = relay(far_in, near_out, ways.clone()) => {}
        }
    };
    tokio::select! {
        () = relayed => {}
        _ = cutting.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut ways: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        open(&mut ways).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn open(ways: &mut watch::Receiver<Way>) {
    let _open = ways.wait_for(|way| *way == Way::Open).await;
}
