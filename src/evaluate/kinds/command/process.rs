//! Running a program for a limited time.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between asking a program to end and ending it.
const GRACE: Duration = Duration::from_secs(5);

/// Longest time between looks at a running program.
const POLL: Duration = Duration::from_millis(100);

/// Most bytes of a standard stream that are kept, from its end on.
const KEPT: u64 = 16 << 20;

/// Most lines of a program's last words.
const LAST_LINES: usize = 5;

/// Most characters of a program's last words.
const LAST_CHARACTERS: usize = 600;

/// Programs that are running.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends the commands of evaluators that are running; for when this process is about to end itself.
pub fn end_commands() {
    for id in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        signal(*id, Signal::Ask);
    }
}

/// How a program came to its end.
pub(super) enum Ending {
    /// It could not be started.
    NotStarted(io::Error),
    /// It ended by itself, or something else ended it.
    Exited(ExitStatus),
    /// It took too long.
    TimedOut,
}

/// What a program wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Said {
    /// The last lines of what went to standard error, or else to standard output.
    pub(super) fn last_words(&self) -> String {
        let texts = [&self.stderr, &self.stdout].map(|bytes| String::from_utf8_lossy(bytes));
        let text = texts.iter().map(|text| text.trim()).find(|text| !text.is_empty());
        let lines: Vec<&str> = text.unwrap_or_default().lines().rev().take(LAST_LINES).collect();
        let text = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        let cut = text.chars().count().saturating_sub(LAST_CHARACTERS);
        text.chars().skip(cut).collect()
    }
}

/// Runs a program with its arguments, in the current directory, with `env` added to its environment.
/// It has nothing on its standard input. What it writes goes to files in `folder`.
pub(super) fn run(
    command: &[String],
    env: &[(String, String)],
    folder: &Path,
    timeout: Duration,
) -> io::Result<(Ending, Said)> {
    let [stdout, stderr] = ["stdout.txt", "stderr.txt"].map(|name| folder.join(name));
    let (program, arguments) =
        command.split_first().map_or(("", command), |(first, rest)| (first, rest));
    let mut process = Command::new(program);
    process
        .args(arguments)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?);
    // With a group of its own, Ctrl-C does not reach it, and its children can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    let ending = match process.spawn() {
        Err(error) => Ending::NotStarted(error),
        Ok(child) => wait(child, timeout)?,
    };
    Ok((ending, Said { stdout: read_end(&stdout)?, stderr: read_end(&stderr)? }))
}

/// Notes that a program runs, for as long as this lives.
struct Noted(u32);

impl Noted {
    fn new(id: u32) -> Noted {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Noted(id)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.0);
    }
}

fn wait(mut child: Child, timeout: Duration) -> io::Result<Ending> {
    let _noted = Noted::new(child.id());
    if let Some(status) = wait_until(&mut child, Instant::now() + timeout)? {
        return Ok(Ending::Exited(status));
    }
    signal(child.id(), Signal::Ask);
    let ended = wait_until(&mut child, Instant::now() + GRACE)?;
    signal(child.id(), Signal::End);
    if ended.is_none() {
        // Where there are no signals, only the program itself is ended.
        let _ = child.kill();
        child.wait()?;
    }
    Ok(Ending::TimedOut)
}

/// Waits for the end of a program, but no longer than that.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL);
    }
}

/// What a program is told.
#[derive(Debug, Clone, Copy)]
enum Signal {
    /// To end in good order.
    Ask,
    /// To end at once.
    End,
}

/// Sends a signal to the group of a program; one that is no more is none the wiser.
#[cfg(unix)]
fn signal(id: u32, signal: Signal) {
    use rustix::process::{Pid, Signal as System, kill_process_group};
    let signal = match signal {
        Signal::Ask => System::TERM,
        Signal::End => System::KILL,
    };
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(id, signal);
    }
}

#[cfg(not(unix))]
fn signal(_id: u32, _signal: Signal) {}

/// The end of a file.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let length = fs::metadata(path)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT)))?;
    let mut bytes = Vec::new();
    file.take(KEPT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
