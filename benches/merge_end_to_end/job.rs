//! One measurement in a process of its own, so that memory and start-up are its own as well.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use mergekit::checkpoint::{CheckpointWriter, Layout, OutputDirectory, ShardSize};
use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions, WriteOptions};
use mergekit::plan::{MergePlan, ModelStore, PlanOptions};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::process::{MemoryWatch, processor_seconds};

thread_local! {
    /// What the copy limit reads into and writes from.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What to do in the other process.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub work: Work,
    /// Text of the merge config.
    pub config: String,
    pub out: PathBuf,
    pub threads: Option<usize>,
    /// Bytes that the copy limit reads and writes at a time.
    pub block: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Work {
    Merge,
    /// Reads the same inputs and writes as many bytes, without a merge.
    CopyLimit,
}

/// What it cost. Times in seconds, memory in bytes.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// From the start of the process to the first byte written.
    pub first_byte: f64,
    /// From the start of planning to the last byte written.
    pub last_byte: f64,
    /// From there to the end: waiting for the disk, renaming.
    pub commit: f64,
    /// Processor time up to the last byte, in the program and in the system.
    pub user: f64,
    pub system: f64,
    pub peak_anonymous: u64,
    pub peak_resident: u64,
    /// Bytes of weights of all inputs, each counted once, and of the output.
    pub read: u64,
    pub written: u64,
}

impl Job {
    /// Runs the job in a new process of this program. The output is removed.
    pub(crate) fn run(&self) -> anyhow::Result<Cost> {
        let job = serde_json::to_string(self)?;
        let started = since_epoch().as_nanos().to_string();
        let output = Command::new(std::env::current_exe()?)
            .args(["--bench", "--job", &job, "--started", &started])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        // What a job leaves behind is removed whether it worked or not.
        let removed = std::fs::remove_dir_all(&self.out);
        if !output.status.success() {
            bail!("a measurement failed: {}", output.status);
        }
        if matches!(self.work, Work::Merge) {
            removed.with_context(|| format!("cannot remove `{}`", self.out.display()))?;
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs the job in this process, which was started `started` nanoseconds after the epoch.
    pub(crate) fn run_here(&self, started: u64) -> anyhow::Result<Cost> {
        let clock = Clock::start(started);
        let config = MergeConfig::parse(&self.config, "recipe.yml".as_ref())?;
        let plan = MergePlan::new(&config, &ModelStore::new(), &PlanOptions::default())?;
        let options = EngineOptions { threads: self.threads, ..EngineOptions::default() };
        let engine = Engine::new(options)?;
        let total = plan.output_bytes();
        let progress = |bytes| clock.count(bytes, total);
        match self.work {
            Work::Merge => {
                let options = WriteOptions { strict: true, ..WriteOptions::default() };
                engine.merge_to_directory(&plan, &self.out, &options, &progress)?;
            }
            Work::CopyLimit => self.copy(&plan, engine.threads(), &progress)?,
        }
        let weights = plan.models().iter().flat_map(|model| model.checkpoint.tensors().values());
        let read = weights.map(|info| info.bytes() as u64).sum();
        clock.finish(Cost { read, written: total, ..Cost::default() })
    }

    /// Reads every input byte once and writes the output's bytes from one hot buffer, in the order
    /// and with the threads of a merge.
    fn copy(
        &self,
        plan: &MergePlan,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        let output = OutputDirectory::create(&self.out, false)?;
        let layout = Layout::new(plan.tensor_infos(), ShardSize::default())?;
        let writer = CheckpointWriter::create(output.path(), layout)?;
        let mut order: Vec<usize> = (0..plan.tensors().len()).collect();
        order.sort_by_key(|&index| writer.layout().place(index));
        let copy_block = |buffer: &mut Vec<u8>, tensor: usize, offset: usize, length: usize| {
            let planned = &plan.tensors()[tensor];
            let start = offset / planned.info.dtype.size();
            buffer.resize(self.block, 0);
            for model in plan.models() {
                model.checkpoint.copy_bytes(&planned.name, start, &mut buffer[..length])?;
            }
            writer.write_at(tensor, offset, &buffer[..length])?;
            progress(length as u64);
            anyhow::Ok(())
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
            order.par_iter().with_max_len(1).try_for_each(|&tensor| {
                let bytes = plan.tensors()[tensor].info.bytes();
                let blocks = (0..bytes.div_ceil(self.block)).into_par_iter().with_max_len(1);
                blocks.try_for_each(|block| {
                    let offset = block * self.block;
                    let length = self.block.min(bytes - offset);
                    BUFFER.with_borrow_mut(|buffer| copy_block(buffer, tensor, offset, length))
                })
            })
        })?;
        writer.finish()?;
        Ok(())
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Takes the time of the first and of the last byte.
struct Clock {
    /// Of the process, since the epoch.
    started: Duration,
    begin: Instant,
    processor: [f64; 2],
    memory: MemoryWatch,
    written: AtomicU64,
    first: OnceLock<Duration>,
    last: OnceLock<(Instant, [f64; 2])>,
}

impl Clock {
    fn start(started: u64) -> Self {
        Self {
            started: Duration::from_nanos(started),
            begin: Instant::now(),
            processor: processor_seconds(),
            memory: MemoryWatch::start(),
            written: AtomicU64::new(0),
            first: OnceLock::new(),
            last: OnceLock::new(),
        }
    }

    fn count(&self, bytes: u64, total: u64) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 {
            self.first.get_or_init(since_epoch);
        }
        if before + bytes == total {
            self.last.get_or_init(|| (Instant::now(), processor_seconds()));
        }
    }

    fn finish(self, cost: Cost) -> anyhow::Result<Cost> {
        let end = Instant::now();
        let first = self.first.into_inner().context("nothing was written")?;
        let (last, processor) = self.last.into_inner().context("not everything was written")?;
        let [peak_anonymous, peak_resident] = self.memory.finish();
        Ok(Cost {
            first_byte: first.saturating_sub(self.started).as_secs_f64(),
            last_byte: (last - self.begin).as_secs_f64(),
            commit: (end - last).as_secs_f64(),
            user: processor[0] - self.processor[0],
            system: processor[1] - self.processor[1],
            peak_anonymous,
            peak_resident,
            ..cost
        })
    }
}
