//! A live session: attach, read, judge, print, detach.

use std::{
    io::{self, BufWriter, Stdout},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};

use self::{
    aside::{ModulesAside, SymbolsAside},
    lookup_watch::LookupWatch,
    losses::Losses,
    ready_file::ReadyFile,
    signals::{Endings, leave_on_second_interrupt},
    sources::{Baseline, Sources},
};
use crate::{
    attach::load::Attached,
    causes,
    cli::Format,
    clock::monotonic_ns,
    config::Config,
    correlate::engine::Engine,
    event::Event,
    facts::{
        Answer, Fact, FactKey,
        reader::{Reader, follow::Follower},
        sysctl_files,
    },
    ingest::{
        decode::{Decoder, Undecodable},
        live::Live,
    },
    kernel::{caps, modules::LoadedModules},
    memory,
    model::{counts::Counted, coverage::ProbeStatus},
    output::{
        Sink, Start,
        capture::{self, Header},
        clock::Clock,
        json::Json,
        lines::Terminal,
        text::Text,
    },
    session::{Session, Wanted},
    stats::{Counters, Ledger, recursion_misses},
};

mod aside;
mod lookup_watch;
mod losses;
pub mod open;
mod ready_file;
mod selected;
mod signals;
mod sources;

/// Budget epoch, and how often time passes for the engine.
const TICK: Duration = Duration::from_millis(100);

/// How often quiet kinds of drops are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// Entries read before other things get their turn.
const BATCH: usize = 512;

/// How long to wait at the end for programs still running on other CPUs.
const SETTLE: Duration = Duration::from_millis(500);

/// Pairs of descriptors that the runtime and its listening to signals take at most.
const ROOM: usize = 6;

/// How long a session that ends at once waits for the names of places.
const SYMBOLS: Duration = Duration::from_secs(2);

/// Runs a live session.
///
/// # Errors
///
/// See [`crate::exit::Failure`] for those with an exit code of their own.
pub fn run(config: &Config) -> Result<()> {
    // Where there are too few descriptors, the runtime panics.
    let room: io::Result<Vec<_>> = (0..ROOM).map(|_| UnixStream::pair()).collect();
    drop(room.context("starting the runtime")?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(live(config))
}

async fn live(config: &Config) -> Result<()> {
    let began = Instant::now();
    // Asked for first: a signal during the start must not leave anything behind either.
    let mut endings = Endings::new()?;
    let ready_file = config
        .ready_file
        .as_deref()
        .map(|path| ReadyFile::new(path).map(Arc::new))
        .transpose()?;
    leave_on_second_interrupt(ready_file.as_ref().map(Arc::downgrade).unwrap_or_default())
        .context("listening to signals")?;
    let mut symbols = SymbolsAside::new();
    let (mut attached, mut decoder) = open::open(&config.kernel, symbols.listener())?;
    let mut ring = Live::new(&mut attached.ebpf)?;
    let mut counters = Counters::new(&mut attached.ebpf)?;
    // What the programs themselves have to say: only that something which should not happen did.
    let mut words = EbpfLogger::init(&mut attached.ebpf).context("opening the programs' log")?;

    let clock = Clock::now();
    let start = start(&attached);
    let (answers, mut answered) = mpsc::unbounded_channel::<(FactKey, Answer)>();
    // The session may have ended; then nobody wants the answer.
    let answer = move |key, answer| drop(answers.send((key, answer)));
    let mut sources = Sources {
        facts: Reader::start(answer.clone(), sysctl_files::answer)
            .context("starting the reader of facts")?,
        rules: Reader::start(answer.clone(), sysctl_files::answer)
            .context("starting the reader of rule sets")?,
        follower: Follower::new(answer),
    };
    let mut session = Session::new(
        Engine::new(causes::all(), attached.coverage.clone(), true),
        printer(config.format, clock),
        Wanted {
            explain: config.explain,
            selection: config.selection.clone(),
            count: config.count,
        },
    );
    if let Some(path) = &config.record {
        let header = header(&start, clock);
        let writer = capture::Writer::create(path, &header)?;
        session.record(Box::new(writer));
    }
    session.start(&start);
    selected::look_aside(&config.kernel);
    let compared = config.explain || config.record.is_some();
    let namespaces = [Some(start.netns), config.kernel.netns]
        .into_iter()
        .flatten()
        .filter(|_| compared);
    let mut baseline = Baseline::ask(&sources, namespaces);
    let mut ready = false;
    let mut modules = ModulesAside::new(&attached.late);

    let mut watch = LookupWatch::default();
    let mut losses = Losses::default();
    let mut looked = Instant::now();
    let mut loaded = LoadedModules::read();
    let deadline = config
        .duration
        .and_then(|d| tokio::time::Instant::now().checked_add(d));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !session.done() {
        if !ready && baseline.is_over() {
            ready = true;
            if let Some(file) = &ready_file {
                file.create()?;
            }
            log::info!("ready after {:?}", began.elapsed());
            memory::release();
        }
        tokio::select! {
            // Facts first: a case that waits is worth more than the next record.
            biased;
            () = endings.recv() => break,
            () = until(deadline) => break,
            Some((key, answer)) = answered.recv() => {
                if ready || baseline.answered(&sources, &key, &answer) {
                    session.take(&fact(key, answer));
                    session.flush();
                }
            }
            read = symbols.next() => decoder.take_symbols(read),
            news = modules.next() => probes(news, &mut session),
            _ = tick.tick() => {
                words.flush();
                counters.advance()?;
                watch.tick(&mut attached, &mut counters)?;
                modules.tick();
                if loaded.changed() {
                    // Functions of modules without a hook free packets too: theirs are the names of rules.
                    symbols.read();
                }
                if looked.elapsed() >= LOOK {
                    looked = Instant::now();
                    counters.retire()?;
                }
                if let Some(tick) = losses.tick(&counters)? {
                    session.take(&tick);
                }
                session.advance(monotonic_ns());
            }
            filled = ring.ready(), if decoder.has_symbols() => {
                filled.context("polling the ring buffer")?;
                read(&mut ring, &decoder, &mut session);
                watch.refused(session.refusals(), &mut attached, &mut counters)?;
            }
        }
        sources.ask(session.questions())?;
    }

    // Detach, then read what is left: after that the numbers stand still.
    probes(modules.last().await, &mut session);
    let recursion = recursion_misses(&attached);
    drop(attached);
    log::debug!("detached");
    if !decoder.has_symbols()
        && let Ok(read) = timeout(SYMBOLS, symbols.next()).await
    {
        decoder.take_symbols(read);
    }
    settle(&mut ring, &decoder, &mut session, &counters)?;
    log::debug!("the ring buffer is empty");
    last_answers(&mut session, &mut sources, &mut answered).await?;
    log::debug!("nothing is waited for any more");
    let ledger = Ledger {
        lost_recursion: recursion,
        ..counters.ledger()?
    };
    if let Some(tick) = losses.last(&counters)? {
        session.take(&tick);
    }
    let drops = counted(&counters, &decoder);
    log::debug!("counted");
    // Whole milliseconds: more would be noise, and would not survive a capture to the last digit.
    let seconds = began.elapsed().as_millis() as f64 / 1e3;
    session.finish(monotonic_ns(), seconds, ledger, drops)
}

/// An answer, as of now.
fn fact(key: FactKey, answer: Answer) -> Event {
    Event::Fact {
        time_ns: monotonic_ns(),
        key,
        fact: answer.unwrap_or_else(Fact::from),
    }
}

/// What became of programs for modules.
fn probes(news: Vec<ProbeStatus>, session: &mut Session) {
    for status in news {
        session.take(&Event::Probe {
            time_ns: monotonic_ns(),
            status,
        });
    }
}

fn start(attached: &Attached) -> Start {
    let coverage = attached.coverage.clone();
    Start {
        time_ns: monotonic_ns(),
        kernel: caps::release(),
        netns: caps::own_netns(),
        causes: causes::root()
            .iter()
            .map(|c| (c.id(), c.blind(&coverage)))
            .collect(),
        coverage,
    }
}

fn header(start: &Start, clock: Clock) -> Header {
    Header {
        dropwatch_capture: capture::VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: start.kernel.clone(),
        netns: start.netns,
        start_ns: start.time_ns,
        offset_ns: clock.offset_ns,
        coverage: start.coverage.clone(),
    }
}

/// A printer to stdout.
#[must_use]
pub fn printer(format: Format, clock: Clock) -> Box<dyn Sink> {
    let out: BufWriter<Stdout> = BufWriter::with_capacity(1 << 16, io::stdout());
    match format {
        Format::Json => Box::new(Json::new(out, clock)),
        Format::Text => Box::new(Text::new(out, clock, Terminal::of_stdout())),
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Reads a batch; what is left is read when the others had their turn.
fn read(ring: &mut Live, decoder: &Decoder, session: &mut Session) {
    let mut entries = Vec::new();
    ring.drain(BATCH, |bytes| entries.push(decoder.entry(bytes)));
    for entry in entries {
        take(entry, session);
    }
    session.flush();
}

fn take(entry: Result<Event, Undecodable>, session: &mut Session) {
    match entry {
        Ok(event) => session.take(&event),
        Err(what) => session.undecodable(what),
    }
}

/// Programs may still be running on other CPUs for a moment after they were detached.
fn settle(
    ring: &mut Live,
    decoder: &Decoder,
    session: &mut Session,
    counters: &Counters,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut entries = Vec::new();
        ring.drain(usize::MAX, |bytes| entries.push(decoder.entry(bytes)));
        for entry in entries {
            take(entry, session);
        }
        if counters.submitted()? == session.received() || begun.elapsed() > SETTLE {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Gives the last cases a moment for their facts.
async fn last_answers(
    session: &mut Session,
    sources: &mut Sources<impl FnMut(FactKey, Answer) + Send + 'static>,
    answered: &mut mpsc::UnboundedReceiver<(FactKey, Answer)>,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + SETTLE;
    loop {
        sources.ask(session.questions())?;
        if !session.waiting() {
            return Ok(());
        }
        tokio::select! {
            Some((key, answer)) = answered.recv() => session.take(&fact(key, answer)),
            () = sleep_until(deadline) => return Ok(()),
        }
    }
}

fn counted(counters: &Counters, decoder: &Decoder) -> Vec<Counted> {
    counters
        .drops()
        .into_iter()
        .map(|d| Counted {
            reason: decoder.reason(d.key.reason).text(),
            location: decoder.location(d.key.location).text(),
            netns: d.key.netns,
            ifindex: d.key.ifindex,
            count: d.count,
            suppressed: d.suppressed,
        })
        .collect()
}
