//! HAProxy with a map of keys and a stick table that counts each one's requests: answering itself, and in front of an
//! upstream.
//!
//! Never here: a second thread; what is measured has one core.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::process::{Core, Process, free_address, installed, on};

/// The program, if it is installed.
pub(crate) fn program() -> Option<String> {
    installed("haproxy", "-v")
}

/// Admits these keys so many times a second each, and answers itself.
pub(crate) fn limiter(dir: &Path, keys: &[String], per_sec: u64) -> Process {
    start(dir, keys, per_sec, "    http-request return status 204\n", "")
}

/// The same in front of an upstream.
pub(crate) fn limiting_proxy(dir: &Path, keys: &[String], per_sec: u64, upstream: SocketAddr) -> Process {
    let far = format!("backend far\n    http-reuse always\n    server far {upstream}\n");
    start(dir, keys, per_sec, "    default_backend far\n", &far)
}

fn start(dir: &Path, keys: &[String], per_sec: u64, then: &str, backend: &str) -> Process {
    std::fs::create_dir_all(dir).unwrap();
    let address = free_address();
    let mut map = String::new();
    for (number, key) in keys.iter().enumerate() {
        writeln!(map, "{key} client{number:08}").unwrap();
    }
    std::fs::write(dir.join("keys.map"), map).unwrap();
    let text = format!(
        "global\n    nbthread 1\n    maxconn 1024\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 60s\n\
         frontend near\n    bind {address}\n\
         \x20   stick-table type string len 16 size 64k expire 1m store http_req_rate(1s)\n\
         \x20   http-request set-var(req.client) req.hdr(authorization),word(2,' '),map_str({dir}/keys.map)\n\
         \x20   http-request deny deny_status 401 unless {{ var(req.client) -m found }}\n\
         \x20   http-request track-sc0 var(req.client)\n\
         \x20   http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {per_sec} }}\n\
         {then}{backend}",
        dir = dir.display()
    );
    let conf = dir.join("haproxy.cfg");
    std::fs::write(&conf, text).unwrap();
    let mut command = on(Core::Servers, program().unwrap());
    command.arg("-db").arg("-f").arg(conf);
    Process::listening(&mut command, address, &dir.join("said.log"))
}
