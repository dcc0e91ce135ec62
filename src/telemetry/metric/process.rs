//! What the system says of the process. The prometheus crate reads it; here it is only described.

use super::family::Family;

pub static CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
    "Near the number of workers: add workers or machines.",
);
pub static OPEN_FDS: Family = Family::gauge(
    "process_open_fds",
    "Number of open file descriptors.",
    "Near process_max_fds: raise the limit of the service manager, or look for connections that are never closed.",
);
pub static MAX_FDS: Family =
    Family::gauge("process_max_fds", "Maximum number of open file descriptors.", "Set it above twice the connections.");
pub static VIRTUAL_MEMORY: Family = Family::gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", "");
pub static RESIDENT_MEMORY: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
    "Growing while connections and grants are level: report it.",
);
pub static START_TIME: Family = Family::gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    "Recent and unplanned: read the log of the process before.",
);
pub static THREADS: Family = Family::gauge("process_threads", "Number of OS threads in the process.", "");

/// All that are exposed.
pub static FAMILIES: [&Family; 7] =
    [&CPU, &OPEN_FDS, &MAX_FDS, &VIRTUAL_MEMORY, &RESIDENT_MEMORY, &START_TIME, &THREADS];

/// What reads them.
pub fn collector() -> prometheus::process_collector::ProcessCollector {
    prometheus::process_collector::ProcessCollector::for_self()
}
