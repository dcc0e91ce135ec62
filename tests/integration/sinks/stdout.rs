//! The sink `stdout`, of a real process: lines on one stream, the process's own log on the other, and a pipe that nobody
//! reads holds up nothing.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{assert_arrived, kinds};
use crate::harness::{Ask, Process, Raw, SidecarFile, Site, raw_request, until};

const SINK: &str = "[[audit.sinks]]\nname = \"out\"\nkind = \"stdout\"\n";

/// What was read of a process's standard output, line by line.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<String>>>);

impl Read {
    /// Reads to its end.
    fn from(&self, pipe: PipeReader) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn start(site: &Site, config: &Path) -> (Process, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let process = Process::start_with(config, |command| {
        command.stdout(writer);
    });
    site.believe(&process.keys);
    (process, reader)
}

async fn code(site: &Site, process: &Process, grant: &str) -> String {
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant), ("Break-Glass-Identity", identity.as_str())];
    let mut raw = Raw::open(process.address, &site.path().join("ca.pem")).await;
    raw.write(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await;
    raw.answer().await.code().to_owned()
}

/// So many overrides, each of them answered.
async fn overrides(site: &Site, process: &Process, count: usize) {
    let grant = site.grant(&Ask::default()).await.id.to_string();
    until("the first override", async || (code(site, process, &grant).await == "override").then_some(())).await;
    for _ in 1..count {
        assert_eq!(code(site, process, &grant).await, "override");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_comes_out_in_order_and_a_pipe_that_nobody_reads_holds_nothing_up() {
    let site = Site::start().await;
    let config = site.sidecar_file(&SidecarFile { audit_lines: SINK.to_owned(), ..SidecarFile::default() });
    let audit = config.parent().unwrap().join("audit");
    let lag = "breakglass_sidecar_sink_lag_lines{sink=\"out\"}";
    let read = Read::default();
    let (mut process, pipe) = start(&site, &config);
    // More than a pipe holds (64 KiB).
    overrides(&site, &process, 60).await;
    until("lines wait", async || process.metric(lag).await.filter(|lines| lines != "0")).await;
    read.from(pipe);
    until("no line waits", async || process.metric(lag).await.filter(|lines| lines == "0")).await;
    overrides(&site, &process, 2).await;
    process.signal("TERM");
    assert!(process.ended().await.success());
    let written = kinds(&audit).len();
    assert_eq!(kinds(&audit).last().unwrap(), "log_ended");
    until("the last line", async || (read.lines().len() >= written).then_some(())).await;
    assert_eq!(read.lines().len(), written, "each once, and nothing else on standard output");
    assert_arrived(&audit, &read.lines());
    // Killed with lines that wait: the next one hands them on.
    let (process, unread) = start(&site, &config);
    overrides(&site, &process, 60).await;
    process.kill();
    // What the pipe has taken, the sink counts as handed on.
    read.from(unread).join().unwrap();
    let (process, pipe) = start(&site, &config);
    read.from(pipe);
    overrides(&site, &process, 1).await;
    until("no line waits", async || process.metric(lag).await.filter(|lines| lines == "0")).await;
    // The last outcome may follow its answer.
    until("the last outcome", async || kinds(&audit).last().filter(|kind| *kind == "outcome").map(drop)).await;
    let stored = super::segment_lines(&audit);
    until("every line", async || {
        let lines = read.lines();
        stored.iter().all(|line| lines.contains(line)).then_some(())
    })
    .await;
    let whole: Vec<_> = read.lines().into_iter().filter(|line| stored.contains(line)).collect();
    assert_arrived(&audit, &whole);
}
