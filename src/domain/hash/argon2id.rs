//! Argon2id: what every key of our own making has, and what many imported ones bring.
//!
//! Own hashes have one lane, 16 bytes of salt and 32 of output; imported ones may have others, inside the
//! bounds here. The output goes as soon as it is compared.
//!
//! Never here: another variant of argon2, or a version before 19.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::stored_hash::{HashKind, HashRefused, OUTPUT_BYTES, OUTPUT_BYTES_MAX, decimals, in_bounds};
use super::{SALT_LEN, SlowHashCost, SlowHashMemory};

const KIND: HashKind = HashKind::Argon2id;
/// Bytes of output in a hash of our own making.
const OUTPUT_LEN: usize = 32;
/// The most lanes. The memory is shared among them and they run one after the other, so they cost nothing.
const LANES_MAX: u32 = 4;

/// An argon2id hash, its cost known to be inside the bounds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2id {
    cost: SlowHashCost,
    lanes: u32,
    salt: Salt,
    output: Output,
}

impl Argon2id {
    /// Reads what stands in the form that we write it in, as nearly all do, for a tenth of what it takes to read any:
    /// each first use of a key does. `None` of any other form.
    pub(super) fn read_own(text: &str) -> Option<Result<Self, HashRefused>> {
        let (memory, rest) = text.strip_prefix("$argon2id$v=19$m=")?.split_once(",t=")?;
        let (passes, rest) = rest.split_once(",p=")?;
        let (lanes, rest) = rest.split_once('$')?;
        let (salt, output) = rest.split_once('$')?;
        let [memory, passes, lanes] = [plain(memory)?, plain(passes)?, plain(lanes)?];
        Some(Self::bounded(memory, passes, lanes, salt.parse().ok()?, Output::decode(output).ok()?))
    }

    pub(super) fn read(phc: &PasswordHash) -> Result<Self, HashRefused> {
        if phc.version != Some(Version::V0x13.into()) {
            return Err(HashRefused::Argon2Version);
        }
        let [memory, passes, lanes] =
            decimals(phc, ["m", "t", "p"]).ok_or(HashRefused::Malformed { kind: KIND })?;
        let (Some(salt), Some(output)) = (phc.salt, phc.hash) else {
            return Err(HashRefused::Malformed { kind: KIND });
        };
        Self::bounded(memory, passes, lanes, salt, output)
    }

    fn bounded(
        memory: u32,
        passes: u32,
        lanes: u32,
        salt: Salt,
        output: Output,
    ) -> Result<Self, HashRefused> {
        let lanes = in_bounds(KIND, "p", lanes, 1..=LANES_MAX)?;
        let memory = in_bounds(KIND, "m", memory, lanes * 8..=SlowHashCost::MEMORY_KIB_MAX)?;
        let passes = in_bounds(KIND, "t", passes, 1..=SlowHashCost::PASSES_MAX)?;
        in_bounds(KIND, "output bytes", output.len(), OUTPUT_BYTES)?;
        let cost = SlowHashCost::new(memory, passes).ok_or(HashRefused::Malformed { kind: KIND })?;
        Ok(Self { cost, lanes, salt, output })
    }

    /// Runs the hash over a new text. `None` only if argon2 itself refuses, which a cost inside the bounds
    /// never causes.
    pub(super) fn create(
        text: &[u8],
        salt: [u8; SALT_LEN],
        cost: SlowHashCost,
        memory: &mut SlowHashMemory,
    ) -> Option<Self> {
        let salt = Salt::new(&salt).ok()?;
        let ran = run(text, &salt, &params(cost, 1, OUTPUT_LEN)?, memory)?;
        let output = Output::new(ran.get(..OUTPUT_LEN)?).ok()?;
        Some(Self { cost, lanes: 1, salt, output })
    }

    pub(super) fn phc(&self) -> Option<String> {
        let params = params(self.cost, self.lanes, self.output.len())?;
        let phc = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).ok()?,
            salt: Some(self.salt),
            hash: Some(self.output),
        };
        Some(phc.to_string())
    }

    /// Runs the hash over a presented text and compares in constant time.
    pub(super) fn matches(&self, text: &[u8], memory: &mut SlowHashMemory) -> bool {
        let ran = params(self.cost, self.lanes, self.output.len())
            .and_then(|params| run(text, &self.salt, &params, memory));
        let stored = self.output.as_bytes();
        ran.is_some_and(|ran| ran.get(..stored.len()).is_some_and(|presented| presented.ct_eq(stored).into()))
    }

    /// Whether a new hash of this cost would have the same parameters.
    pub(super) fn is_default(&self, cost: SlowHashCost) -> bool {
        let salt: &[u8] = self.salt.as_ref();
        self.cost == cost && self.lanes == 1 && self.output.len() == OUTPUT_LEN && salt.len() >= SALT_LEN
    }
}

/// A number in digits alone, without zeros before it.
fn plain(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

fn params(cost: SlowHashCost, lanes: u32, output_len: usize) -> Option<Params> {
    Params::new(cost.memory_kib(), cost.passes(), lanes, Some(output_len)).ok()
}

fn run(
    text: &[u8],
    salt: &Salt,
    params: &Params,
    memory: &mut SlowHashMemory,
) -> Option<Zeroizing<[u8; OUTPUT_BYTES_MAX]>> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let blocks = memory.blocks(params.block_count());
    let mut output = Zeroizing::new([0; OUTPUT_BYTES_MAX]);
    let wanted = output.get_mut(..params.output_len()?)?;
    let salt: &[u8] = salt.as_ref();
    let done = argon2.hash_password_into_with_memory(text, salt, wanted, &mut *blocks);
    // The output is a hash of the last block of each lane, so those go; the rest stays until the next run,
    // since wiping it all costs as much as a pass.
    let lane_len = blocks.len().checked_div(usize::try_from(params.p_cost()).ok()?)?;
    for lane in blocks.chunks_mut(lane_len) {
        lane.iter_mut().next_back().into_iter().for_each(Zeroize::zeroize);
    }
    done.ok().map(|()| output)
}
