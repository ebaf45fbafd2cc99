//! `keyward demo`: the daemon on embedded defaults, with every shipped profile, a ready key for each and
//! something behind the gate.
//!
//! It is the same daemon that `serve` runs, and its keys are made through the same admin API that everyone
//! uses. A ready key is on disk before it is told, so a demo that is started again goes on with the keys that
//! were pasted somewhere.
//!
//! Never here: a way in that a real daemon does not have.

mod kept_keys;
mod place;
mod ready_key;
mod tour;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::admin_client::AdminClient;
use super::arguments::DemoArguments;
use super::failure::CliError;
use super::key_file::{KeyFileError, read_admin_key};
use super::output::{Output, plain};
use super::reach::AdminUrl;
use super::serve::{announcement, drain, start};
use crate::app::{LaunchFlags, Running};
use crate::domain::key::RawKey;
use crate::domain::profile::Profile;
use kept_keys::{KeptKey, KeptKeys};
use ready_key::ready_key;

/// Runs the demo until it is told to stop.
pub(super) async fn demo(arguments: DemoArguments, json: bool, output: &mut Output) -> Result<(), CliError> {
    let dir = place::prepare(&arguments.data)?;
    let settings = place::settings(&dir, arguments.port, &arguments.log.flags())?;
    let products: Vec<_> = settings.profiles.iter().map(|product| product.loaded.profile.clone()).collect();
    let Some((running, mut signals)) = start(settings, LaunchFlags::default()).await? else { return Ok(()) };
    let ready = tokio::select! {
        ready = ready_keys(&running, &dir, products.iter().map(AsRef::as_ref), output) => ready,
        () = signals.next() => return Ok(running.stop().await?),
    };
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            // What failed is told; a stop that fails behind it would only hide it.
            let _ = running.stop().await;
            return Err(error);
        }
    };
    if json {
        output.line(&*ready.announcement(&running));
    } else {
        output.line(tour::welcome(&running, &dir, &ready.keys));
    }
    // A terminal that was closed is a wish to stop as well: a demo has nothing to read again.
    signals.wish().await;
    drain(running, signals).await
}

/// What the demo tells besides addresses.
struct Ready {
    admin_key: RawKey,
    keys: BTreeMap<String, KeptKey>,
}

impl Ready {
    /// The one JSON object that scripts read.
    fn announcement(&self, running: &Running) -> Zeroizing<String> {
        let mut told = announcement(running);
        if let Some(told) = told.as_object_mut() {
            let keys: Map<_, _> =
                self.keys.iter().map(|(name, kept)| (name.clone(), json!(kept.key))).collect();
            told.insert("admin_key".to_owned(), json!(self.admin_key.reveal()));
            told.insert("keys".to_owned(), keys.into());
        }
        Zeroizing::new(told.to_string())
    }
}

/// A working key for each product: the kept one where it works, a new one where not.
async fn ready_keys(
    running: &Running,
    dir: &Path,
    products: impl Iterator<Item = &Profile>,
    output: &mut Output,
) -> Result<Ready, CliError> {
    let admin_key = admin_key(running.admin_key_file())?;
    let client = AdminClient::new(AdminUrl::at(&running.admin().address), &admin_key);
    let mut kept = KeptKeys::read(dir)?;
    let mut keys = BTreeMap::new();
    for product in products {
        let found = ready_key(&client, product, kept.of(&product.name)).await?;
        if let Some(why) = found.remark {
            output.remark(format_args!("keyward: {}", plain(&why)));
        }
        if found.is_new {
            kept.keep(&product.name, found.key.clone())?;
        }
        keys.insert(product.name.clone(), found.key);
    }
    Ok(Ready { admin_key, keys })
}

fn admin_key(file: &Path) -> Result<RawKey, CliError> {
    read_admin_key(file).map_err(|error| match error {
        KeyFileError::Missing { .. } => CliError::Demo(format!(
            "{} is missing, but the data beside it was made with it: put it back, or remove the folder to begin anew",
            file.display()
        )),
        other => other.into(),
    })
}
