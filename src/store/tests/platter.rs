//! A disk in memory that lies: it loses what was not synced, or keeps any part of it in any order, and fails when
//! it is told to.
//!
//! A sync that fails leaves what Linux leaves: what was written can be read, counts as clean, and any part of it
//! is on the disk or not. What is random follows from a seed.
//!
//! Never here: what a store makes of it.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use redb::StorageBackend;

use super::super::file;
use super::*;

/// What a disk writes whole: half of what a store is written in, or less.
const SECTORS_BYTES: [usize; 3] = [512, 4096, 2048];

/// Numbers that look random and are the same again from the same seed (xorshift64).
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn from_seed(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Something that was asked of the disk.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Write { offset: usize, data: Arc<[u8]> },
    SetLen(usize),
    Sync,
}

/// When it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// What is asked with this number fails, counted from 0, and nothing else.
    Once(usize),
    /// From this one on everything fails but reading.
    From(usize),
}

/// The disk. Clones are the same one.
#[derive(Clone)]
pub(super) struct Platter(Arc<Mutex<State>>);

struct State {
    image: Image,
    /// All that was asked since it was last forgotten.
    log: Vec<Asked>,
    fault: Option<Fault>,
    has_failed: bool,
    random: Random,
}

/// What is on the disk, and what would be read.
#[derive(Clone)]
pub(super) struct Image {
    durable: Vec<u8>,
    seen: Vec<u8>,
    pending: Vec<Asked>,
}

impl Image {
    pub(super) fn ask(&mut self, asked: &Asked) {
        match asked {
            Asked::Write { offset, data } => self.seen[*offset..*offset + data.len()].copy_from_slice(data),
            Asked::SetLen(len) => self.seen.resize(*len, 0),
            Asked::Sync => {
                self.durable.clone_from(&self.seen);
                self.pending.clear();
                return;
            }
        }
        self.pending.push(asked.clone());
    }

    /// What a power cut leaves.
    pub(super) fn cut(&self, random: &mut Random) -> Vec<u8> {
        match random.below(8) {
            0 => self.durable.clone(),
            1 => self.seen.clone(),
            2 => {
                // In the order in which it was written, up to some point.
                let mut image = Self { seen: self.durable.clone(), ..self.clone() };
                let kept = random.below(self.pending.len() + 1);
                for asked in &self.pending[..kept] {
                    image.ask(asked);
                }
                image.seen
            }
            _ => self.torn(random),
        }
    }

    /// Any part of what was not synced, each sector for itself.
    fn torn(&self, random: &mut Random) -> Vec<u8> {
        let sector = SECTORS_BYTES[random.below(SECTORS_BYTES.len())];
        let lengths = self.pending.iter().filter_map(|asked| match asked {
            Asked::SetLen(len) => Some(*len),
            _ => None,
        });
        let lengths: Vec<_> = [self.durable.len()].into_iter().chain(lengths).collect();
        let mut image = self.durable.clone();
        image.resize(lengths[random.below(lengths.len())], 0);
        // A sector is as it was before, or as any of the writes left it.
        let mut versions: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        let mut seen = self.durable.clone();
        for asked in &self.pending {
            match asked {
                Asked::SetLen(len) => seen.resize(*len, 0),
                Asked::Write { offset, data } => {
                    seen[*offset..*offset + data.len()].copy_from_slice(data);
                    let first = offset / sector * sector;
                    for start in (first..*offset + data.len()).step_by(sector) {
                        let end = seen.len().min(start + sector);
                        versions.entry(start).or_default().push(seen[start..end].to_vec());
                    }
                }
                Asked::Sync => {}
            }
        }
        for (start, versions) in versions {
            let kept = random.below(2 * versions.len());
            if let Some(version) = versions.get(kept)
                && start + version.len() <= image.len()
            {
                image[start..start + version.len()].copy_from_slice(version);
            }
        }
        image
    }

    /// A sync that fails: what was written counts as clean, and some of it is on the disk.
    fn fail_sync(&mut self, random: &mut Random) {
        let len = self.seen.len();
        self.durable = self.torn(random);
        self.durable.resize(len, 0);
        self.pending.clear();
    }
}

impl Platter {
    /// A disk with these bytes on it.
    pub(super) fn of(bytes: Vec<u8>, random: Random) -> Self {
        let image = Image { durable: bytes.clone(), seen: bytes, pending: Vec::new() };
        let state = State { image, log: Vec::new(), fault: None, has_failed: false, random };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A disk with an empty store on it.
    pub(super) fn with_a_store(random: Random) -> Self {
        let platter = Self::of(Vec::new(), random);
        file::fill(&path(), platter.clone(), 1 << 20).unwrap();
        platter
    }

    /// Opens the store that lies on it.
    pub(super) fn open(&self) -> Result<Store, StoreError> {
        let probe = self.clone();
        let probe = move || probe.state().pass();
        let disk = Disk::new(self.clone(), None, Box::new(probe), 1 << 20);
        let open = file::open_over(&path(), &disk)?;
        let store = Store::over(disk, open).unwrap();
        store.seal_with(AuditSealer::new(&[1; 32]));
        Ok(store)
    }

    /// Counts and notes what is asked from here on, from what lies on it now.
    pub(super) fn begin_log(&self) -> Image {
        let mut state = self.state();
        state.log.clear();
        state.image.clone()
    }

    /// What was asked since.
    pub(super) fn log(&self) -> Vec<Asked> {
        self.state().log.clone()
    }

    /// How much was asked since.
    pub(super) fn asked(&self) -> usize {
        self.state().log.len()
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Whether anything has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// What a power cut at this instant leaves.
    pub(super) fn cut(&self) -> Vec<u8> {
        let state = &mut *self.state();
        state.image.cut(&mut state.random)
    }

    /// What is certain to be left by one.
    pub(super) fn durable(&self) -> Vec<u8> {
        self.state().image.durable.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, asked: Asked) -> io::Result<()> {
        let state = &mut *self.state();
        let passed = state.pass();
        if passed.is_err() {
            match &asked {
                Asked::Sync => state.image.fail_sync(&mut state.random),
                // Some of it was written.
                Asked::Write { offset, data } => {
                    let part = data.len() / 512 / 2 * 512;
                    let data = data[..part].into();
                    state.image.ask(&Asked::Write { offset: *offset, data });
                }
                Asked::SetLen(_) => {}
            }
        } else {
            state.image.ask(&asked);
        }
        state.log.push(asked);
        passed
    }
}

impl State {
    fn pass(&mut self) -> io::Result<()> {
        let fails = match self.fault {
            Some(Fault::Once(at)) => self.log.len() == at,
            Some(Fault::From(at)) => self.log.len() >= at,
            None => false,
        };
        self.has_failed |= fails;
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

fn path() -> PathBuf {
    PathBuf::from("a disk in memory")
}

impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platter")
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().image.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let start = usize::try_from(offset).unwrap();
        let found = state.image.seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ask(Asked::SetLen(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.ask(Asked::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ask(Asked::Write { offset: usize::try_from(offset).unwrap(), data: data.into() })
    }
}
