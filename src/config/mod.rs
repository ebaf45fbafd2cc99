//! The configuration and the profiles: TOML in, plain values and domain types out.
//!
//! Defaults, then the file, then `KEYWARD_*`, then flags. Unknown names are refused, and every problem is
//! told at once with the range that would be taken. What came out whole needs no further check anywhere.
//!
//! Never here: starting anything. And nobody but this room reads the environment.

mod command;
mod cors;
mod door;
mod file;
mod listener;
mod overlay;
mod problem;
mod profile;
mod quantity;
mod rate;
mod reader;
mod route;
mod rpc;
mod sandbox;
mod settings;
mod shipped;
mod standard;
mod tools;
mod tuning;
mod upstream;
mod words;

#[cfg(test)]
mod tests;

pub use command::{CommandSetting, ProcessSetting};
pub use file::{ConfigFile, load, resolve, template};
pub use overlay::{Flags, environment, inherited};
pub use problem::Problem;
pub use profile::{LoadedProfile, load_profile};
pub use settings::{
    AdminSettings, CacheSettings, FingerprintSettings, ListenerSettings, LlmSettings, LogFormat, LogLevel,
    LogSettings, ProfileSettings, Settings, SlowHashSettings, UpstreamSetting,
};
pub use shipped::{shipped, shipped_names, system_profile};
