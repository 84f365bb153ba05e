//! Appends under load: at a constant rate, or as many at once as there are waiters.
//!
//! Not here: what is appended to beside the journal (`plain`). Always holds: a wait counts from when its record was due.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long each load lasts.
pub(crate) const LASTS: Duration = Duration::from_secs(6);
/// Appends under way when nothing else bounds them.
pub(crate) const AT_ONCE: u64 = 256;

/// What was seen.
pub(crate) struct Load {
    waits_ns: Vec<u64>,
    took: Duration,
    /// Of the journal's own threads.
    own_cpu: Duration,
}

impl Load {
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.waits_ns.len() * percent / 100).min(self.waits_ns.len().saturating_sub(1));
        self.waits_ns.get(at).copied().unwrap_or(0) as f64 / 1e6
    }

    pub(crate) fn rate(&self) -> f64 {
        self.waits_ns.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn own_cpu_us(&self) -> Option<f64> {
        let us = self.own_cpu.as_secs_f64() * 1e6 / self.waits_ns.len() as f64;
        (us > 0.0).then_some(us)
    }
}

/// Appends to a real journal; a quiet disk has no other writer of ours.
pub(crate) fn journal(dir: &Path, rate: Option<u64>, busy: bool) -> Load {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let journal = Arc::new(crate::journal(dir.path()));
    let next = Arc::new(AtomicU64::new(0));
    run(dir.path(), (rate, busy), move || {
        let (journal, n) = (Arc::clone(&journal), next.fetch_add(1, Ordering::Relaxed));
        async move {
            let draft = crate::decision(n).draft().unwrap();
            drop(journal.append(draft).await.unwrap().durable().await.unwrap());
        }
    })
}

/// As many bytes as a record has, synced into a file that has its room already: what the disk itself takes.
pub(crate) fn disk(dir: &Path, rate: u64, busy: bool) -> Load {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let room = vec![0; 64 << 20];
    let mut file = File::create(dir.path().join("alone")).unwrap();
    file.write_all(&room).unwrap();
    file.sync_all().unwrap();
    file.rewind().unwrap();
    let (file, bytes) = (Arc::new(Mutex::new(file)), vec![7; crate::RECORD_BYTES]);
    run(dir.path(), (Some(rate), busy), move || {
        let (file, bytes) = (Arc::clone(&file), bytes.clone());
        async move {
            let mut file = file.lock();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
        }
    })
}

/// Runs appends for a while; each call of `append` is one.
pub(crate) fn run<F: Future<Output = ()> + Send + 'static>(
    dir: &Path,
    (rate, busy): (Option<u64>, bool),
    append: impl Fn() -> F + Send + Sync + 'static,
) -> Load {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    let disk = Neighbour::start(dir, busy);
    let waits = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
    let (begun, cpu) = (Instant::now(), cpu_of("audit-"));
    let append = Arc::new(append);
    runtime.unwrap().block_on(async {
        match rate {
            Some(rate) => at_rate(rate, &append, &waits).await,
            None => at_once(&append, &waits).await,
        }
    });
    let (took, own_cpu) = (begun.elapsed(), cpu_of("audit-") - cpu);
    drop(disk);
    let mut waits_ns = std::mem::take(&mut *waits.lock());
    waits_ns.sort_unstable();
    Load { waits_ns, took, own_cpu }
}

async fn at_rate<F: Future<Output = ()> + Send + 'static>(
    rate: u64,
    append: &Arc<impl Fn() -> F + Send + Sync + 'static>,
    waits: &Arc<Mutex<Vec<u64>>>,
) {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let total = rate * LASTS.as_secs();
    for n in 0..total {
        let due = begun + Duration::from_nanos(n * 1_000_000_000 / rate);
        // A timer would add its own millisecond; a thread that yields adds some microseconds.
        while Instant::now() < due {
            std::thread::sleep(Duration::from_micros(20));
            tokio::task::yield_now().await;
        }
        let (append, waits) = (Arc::clone(append), Arc::clone(waits));
        tasks.spawn(async move {
            append().await;
            waits.lock().push(nanos(due.elapsed()));
        });
    }
    tasks.join_all().await;
}

async fn at_once<F: Future<Output = ()> + Send + 'static>(
    append: &Arc<impl Fn() -> F + Send + Sync + 'static>,
    waits: &Arc<Mutex<Vec<u64>>>,
) {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (append, waits) = (Arc::clone(append), Arc::clone(waits));
        tasks.spawn(async move {
            let mut own = Vec::new();
            while begun.elapsed() < LASTS {
                let due = Instant::now();
                append().await;
                own.push(nanos(due.elapsed()));
            }
            waits.lock().extend(own);
        });
    }
    tasks.join_all().await;
}

fn nanos(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}

/// User and system time of this process, dead threads included, in the kernel's ticks of 10 ms.
pub(crate) fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    time(&stat).unwrap().1
}

/// The same of its living threads whose names begin like that.
fn cpu_of(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let times = stats.filter_map(|stat| {
        let (comm, time) = time(&stat)?;
        comm.starts_with(name).then_some(time)
    });
    times.sum()
}

/// The name and the time in a line of `/proc`.
fn time(stat: &str) -> Option<(&str, Duration)> {
    let (comm, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<u64> = rest.split_whitespace().skip(11).flat_map(str::parse).collect();
    Some((comm, Duration::from_millis((fields[0] + fields[1]) * 10)))
}

/// Somebody else on the same disk: a megabyte, synced, again and again.
struct Neighbour {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Neighbour {
    fn start(dir: &Path, busy: bool) -> Self {
        let is_over = Arc::new(AtomicBool::new(!busy));
        let (over, path) = (Arc::clone(&is_over), dir.join("neighbour"));
        let thread = std::thread::spawn(move || {
            let (mut file, block) = (File::create(path).unwrap(), vec![7; 1 << 20]);
            while !over.load(Ordering::Relaxed) {
                file.rewind().unwrap();
                file.write_all(&block).unwrap();
                file.sync_all().unwrap();
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}
