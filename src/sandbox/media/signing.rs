//! Upload URLs: their query says whose upload it is and until when, and that it was we who said so.
//!
//! The signature is a BLAKE3 hash keyed under a secret of the sandbox's own, 32 random bytes in its file. It
//! covers the workspace, the record and the end; one wrong character anywhere makes it no URL of ours.
//!
//! Never here: a clock, the record that a URL is for, the secret in a log or a `Debug`.

use blake3::Hash;
use zeroize::Zeroizing;

use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;
use crate::sandbox::failure::SandboxError;
use crate::sandbox::records::file::{Collection, RecordFile};

/// What the hash begins with, so that it says nothing about anything else under the same secret.
const CONTEXT: &str = "keyward sandbox 2026-11-22 upload url";

/// Which record may be uploaded to, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sandbox) struct Claim {
    pub(in crate::sandbox) workspace: WorkspaceId,
    pub(in crate::sandbox) number: u128,
    /// A whole second.
    pub(in crate::sandbox) expires: Wall,
}

/// Signs claims and tells them from others'.
pub(super) struct Signer(Zeroizing<[u8; 32]>);

impl Signer {
    /// Reads the secret, or draws it and keeps it. Blocks.
    pub(super) fn open(file: &RecordFile) -> Result<Self, SandboxError> {
        let secrets = Collection { workspace: WorkspaceId::from_u128(0), name: "secrets".into() };
        let kept = if let Some(kept) = file.find(&secrets, 0)? {
            kept
        } else {
            let mut drawn = Zeroizing::new([0; 32]);
            getrandom::fill(drawn.as_mut_slice()).map_err(SandboxError::Random)?;
            file.insert(&secrets, 0, |_| Ok(drawn.to_vec()))?.unwrap_or_default()
        };
        let kept = Zeroizing::new(kept);
        let secret: [u8; 32] = kept.as_slice().try_into().map_err(|_| SandboxError::Secret)?;
        Ok(Self(Zeroizing::new(secret)))
    }

    /// The query of the URL that makes this claim.
    pub(super) fn query(&self, claim: &Claim) -> String {
        let Claim { workspace, expires, .. } = claim;
        format!("workspace={workspace}&expires={}&signature={}", expires.secs(), self.signed(claim).to_hex())
    }

    /// What a query claims for a record; `None` unless it is, letter for letter, one of ours.
    pub(super) fn claim(&self, number: u128, query: &str) -> Option<Claim> {
        let (workspace, rest) = query.strip_prefix("workspace=")?.split_once("&expires=")?;
        let (expires, signature) = rest.split_once("&signature=")?;
        // Of a number, only the spelling that we write.
        let secs = expires.parse::<i64>().ok().filter(|secs| secs.to_string() == expires)?;
        let workspace = WorkspaceId::parse(workspace)?;
        let claim = Claim { workspace, number, expires: Wall::from_secs(secs) };
        let is_lower = signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let signature = Hash::from_hex(signature).ok().filter(|_| is_lower)?;
        // Compares in constant time.
        (self.signed(&claim) == signature).then_some(claim)
    }

    fn signed(&self, claim: &Claim) -> Hash {
        let Claim { workspace, number, expires } = claim;
        let said = format!("{CONTEXT}\n{workspace}\n{number:032x}\n{}", expires.secs());
        blake3::keyed_hash(&self.0, said.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn only_the_very_query_that_was_signed_claims_anything() {
        let claim = Claim {
            workspace: WorkspaceId::from_u128(7),
            number: 9,
            expires: Wall::from_secs(1_767_268_800),
        };
        let query = signer(1).query(&claim);
        assert_eq!(signer(1).claim(9, &query), Some(claim));
        assert_eq!(signer(2).claim(9, &query), None, "another sandbox's");
        assert_eq!(signer(1).claim(8, &query), None, "another record's");
        for (place, letter) in query.char_indices() {
            let other = if letter == '0' { "1" } else { "0" };
            let mut tampered = query.clone();
            tampered.replace_range(place..=place, other);
            assert_eq!(signer(1).claim(9, &tampered), None, "{tampered}");
        }
        for bad in [
            String::new(),
            format!("{query}&x=1"),
            query.replace("expires=", "expires=+"),
            query.replace("expires=", "expires=0"),
            query.to_uppercase(),
            query.split("&signature").next().unwrap().to_owned(),
        ] {
            assert_eq!(signer(1).claim(9, &bad), None, "{bad}");
        }
    }

    #[test]
    fn the_secret_is_drawn_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["a.redb", "b.redb"].map(|name| directory.path().join(name));
        let file = RecordFile::open(&path).unwrap();
        let first = *Signer::open(&file).unwrap().0;
        assert_ne!(first, [0; 32]);
        file.close().unwrap();
        assert_eq!(*Signer::open(&RecordFile::open(&path).unwrap()).unwrap().0, first);
        assert_ne!(*Signer::open(&RecordFile::open(&other).unwrap()).unwrap().0, first);
    }
}
