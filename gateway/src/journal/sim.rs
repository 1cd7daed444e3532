//! Seeded crash runs over a disk in memory that loses what was not synced, tears writes, fills up
//! and fails to sync. No acknowledged record is ever lost, no crash is taken for tampering, and
//! tampering is never taken for a crash.

#![expect(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "a simulation")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forge_evidence::segment::{Anchor, Replay, first_of};
use parking::Mutex;

use super::disk::{Disk, DiskFile};
use super::testing::{decision, event, keys, tenant};
use super::*;
use crate::clock;

/// A lock that does not care about panics of other threads.
mod parking {
    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(std::sync::Mutex<T>);
    impl<T> Mutex<T> {
        pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// splitmix64.
#[derive(Clone, Debug, Default)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Its name survives a power cut.
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, SimFile>,
    dice: Dice,
    /// Operations until one fails; `None` for a good disk.
    fuse: Option<u64>,
    dead: bool,
}

impl State {
    /// Counts down; true if this operation fails. After the fuse nothing works any more.
    fn fails(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.dead
    }
}

#[derive(Clone, Debug, Default)]
struct SimDisk(Arc<Mutex<State>>);

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl Disk for SimDisk {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        if self.0.lock().fails() { Err(broken()) } else { Ok(()) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let mut names: Vec<String> = state
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(path).ok()?.components().next())
            .map(|name| name.as_os_str().to_str().unwrap().to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().files.get(path).map(|file| file.cached.clone()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        if state.fails() {
            return Err(broken());
        }
        state.files.entry(path.to_owned()).or_default();
        Ok(Box::new(Open { disk: self.clone(), path: path.to_owned() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.fails() {
            return Err(broken());
        }
        state.files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.fails() {
            return Err(broken());
        }
        for (file, state) in &mut state.files {
            state.named |= file.parent() == Some(path);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskFile for Open {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.dead {
            return Err(broken());
        }
        // A write that fails has written some of it.
        let fails = state.fails();
        let length =
            if fails { state.dice.roll(bytes.len() as u64 + 1) as usize } else { bytes.len() };
        let file = state.files.get_mut(&self.path).unwrap();
        let offset = offset as usize;
        let end = offset + length;
        if file.cached.len() < end {
            file.cached.resize(end, 0);
        }
        file.cached[offset..end].copy_from_slice(&bytes[..length]);
        if fails { Err(broken()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.fails() {
            return Err(io::Error::other("EIO"));
        }
        let file = state.files.get_mut(&self.path).unwrap();
        file.durable = file.cached.clone();
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.fails() {
            return Err(broken());
        }
        state.files.get_mut(&self.path).unwrap().cached.truncate(length as usize);
        Ok(())
    }
}

impl SimDisk {
    /// The machine stops. `power`: the cache is lost, sector by sector or not at all.
    fn crash(&self, power: bool) {
        let state = &mut *self.0.lock();
        let dice = &mut state.dice;
        if power {
            state.files.retain(|_, file| file.named || dice.roll(2) == 0);
            for file in state.files.values_mut() {
                let length = if dice.roll(2) == 0 { file.durable.len() } else { file.cached.len() };
                let mut left = file.durable.clone();
                left.resize(length, 0);
                for start in (0..length).step_by(512) {
                    let end = (start + 512).min(length);
                    if dice.roll(2) == 0 && file.cached.len() >= end {
                        left[start..end].copy_from_slice(&file.cached[start..end]);
                    }
                }
                *file = SimFile { durable: left.clone(), cached: left, named: true };
            }
        }
        state.dead = false;
        state.fuse = None;
    }

    /// Leaf hashes of a log, read by the format alone.
    fn leaves(&self, name: &str) -> BTreeMap<u64, Digest> {
        let state = self.0.lock();
        let dir = Path::new("evidence/logs").join(name);
        let trusted = [TrustedKey { name: None, key: keys().signer.public() }];
        let anchor = state.files.get(&dir.join("anchor"));
        let anchor = anchor.and_then(|file| Anchor::parse(&file.cached));
        let origin = format!("{name}.gw.example");
        let mut replay = Replay::new(&origin, &trusted, anchor);
        let mut leaves = BTreeMap::new();
        let segments: Vec<_> = state
            .files
            .iter()
            .filter(|(path, _)| path.parent() == Some(&*dir))
            .filter_map(|(path, file)| {
                let name = path.file_name()?.to_str()?;
                first_of(name).map(|_| (name, &file.cached))
            })
            .collect();
        for (index, (file, bytes)) in segments.iter().enumerate() {
            let newest = index + 1 == segments.len();
            let mut visit = |leaf: forge_evidence::segment::Leaf<'_>| {
                leaves.insert(leaf.seq, leaf.hash);
            };
            replay.segment(file, bytes, newest, &mut visit).unwrap();
        }
        replay.finish("log").unwrap();
        leaves
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new(Path::new("evidence"), "gw.example", tenant("local"));
    settings.segment_bytes_max = 3_000;
    settings.commit_interval = Duration::ZERO;
    settings
}

fn open(disk: &SimDisk) -> Result<Journal, JournalError> {
    let disk = Arc::new(disk.clone());
    Journal::open_on(disk, settings(), keys(), clock::system(), None).map(|(journal, _)| journal)
}

/// Ends the writer without letting it write another byte.
async fn kill(journal: Journal, disk: &SimDisk) {
    disk.0.lock().dead = true;
    let _dead = journal.close().await;
}

type Acknowledged = BTreeMap<(&'static str, u64), Digest>;

/// One life of the gateway: opens, records until something breaks or it is enough, dies.
async fn live(disk: &SimDisk, seed: u64, acknowledged: &mut Acknowledged) {
    let mut dice = Dice(seed);
    disk.0.lock().fuse = (dice.roll(4) != 0).then(|| dice.roll(60));
    let journal = match open(disk) {
        Ok(journal) => journal,
        Err(error @ JournalError::Alarm { .. }) => panic!("seed {seed}: {error:?}"),
        Err(_) => return,
    };
    for step in 0..dice.roll(12) {
        let name = ["acme", "globex"][dice.roll(2) as usize];
        let records = (0..=dice.roll(3)).map(|n| match journal.slot(&tenant(name)) {
            Ok(slot) if dice.roll(2) == 0 => {
                let call = format!("call_{seed}_{step}_{n}");
                decision(name, &call, slot, forge_schemas::policy::Effect::Allow)
            }
            _ => event(name, "call_x"),
        });
        match journal.append(records.collect()).await {
            Ok(receipts) => acknowledged
                .extend(receipts.iter().map(|receipt| ((name, receipt.seq), receipt.leaf))),
            Err(_) => {
                assert!(journal.health().is_err(), "seed {seed}: failed and says it is well");
                assert!(journal.append(vec![event(name, "y")]).await.is_err());
                break;
            }
        }
    }
    kill(journal, disk).await;
}

fn check(disk: &SimDisk, acknowledged: &Acknowledged, seed: u64) {
    for name in ["acme", "globex"] {
        let leaves = disk.leaves(name);
        for ((_, seq), leaf) in acknowledged.iter().filter(|((owner, _), _)| *owner == name) {
            assert_eq!(leaves.get(seq), Some(leaf), "seed {seed}: record {seq} of {name} is lost");
        }
    }
}

#[tokio::test]
async fn no_acknowledged_record_is_lost_in_a_thousand_crashes() {
    for seed in 0..350 {
        let disk = SimDisk::default();
        disk.0.lock().dice = Dice(seed ^ 0xabcd);
        let mut acknowledged = Acknowledged::new();
        for life in 0..3 {
            live(&disk, seed * 16 + life, &mut acknowledged).await;
            let power = disk.0.lock().dice.roll(2) == 0;
            disk.crash(power);
        }
        let journal = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        kill(journal, &disk).await;
        disk.crash(false);
        check(&disk, &acknowledged, seed);
    }
}

#[tokio::test]
async fn a_changed_bit_before_the_frontier_refuses_the_start() {
    for seed in 0..150 {
        let disk = SimDisk::default();
        let mut dice = Dice(seed);
        let journal = open(&disk).unwrap();
        for _ in 0..=dice.roll(8) {
            journal.append(vec![event("acme", "call_1"), event("acme", "call_2")]).await.unwrap();
        }
        kill(journal, &disk).await;
        disk.crash(false);
        let before = disk.0.lock().files.clone();
        let segments: Vec<_> =
            before.keys().filter(|path| path.extension().is_some()).cloned().collect();
        let path = &segments[dice.roll(segments.len() as u64) as usize];
        let at = dice.roll(before[path].cached.len() as u64) as usize;
        disk.0.lock().files.get_mut(path).unwrap().cached[at] ^= 1 << dice.roll(8);
        let bent = disk.0.lock().files.clone();
        let opened = open(&disk);
        assert!(matches!(opened, Err(JournalError::Alarm { .. })), "seed {seed}: {path:?} at {at}");
        // An alarm leaves everything as it was found.
        let after = disk.0.lock().files.clone();
        assert!(bent.iter().all(|(path, file)| after[path].cached == file.cached), "seed {seed}");
    }
}
