//! A second opinion: the same requests from wrk, which others know.
//!
//! It is dearer than our own client and as busy as the server, so it hides what lies between two servers.
//!
//! Never here: a figure that a bar stands on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::process::{Core, installed, on};

/// The requests a second that wrk gets out of a server with these keys in turn; `None` where it is not installed.
pub(crate) fn requests_per_sec(
    dir: &Path,
    address: SocketAddr,
    keys: &[String],
    connections: usize,
    time: Duration,
) -> Option<f64> {
    let program = installed("wrk", "-v")?;
    let mut script = String::from("local requests, place = {}, 0\nfunction init()\n");
    for key in keys {
        writeln!(script, "wrk.headers[\"authorization\"] = \"Bearer {key}\"\nrequests[#requests + 1] = wrk.format(\"GET\", \"/v1/posts\")").unwrap();
    }
    script.push_str("end\nfunction request()\nplace = place % #requests + 1\nreturn requests[place]\nend\n");
    let path = dir.join("wrk.lua");
    std::fs::write(&path, script).unwrap();
    let mut command = on(Core::Clients, program);
    command.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{}s", time.as_secs().max(1))]);
    let output =
        command.arg("-s").arg(path).arg(format!("http://{address}")).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !said.contains("Non-2xx"), "{said}");
    let rate =
        said.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("what wrk says at its end");
    Some(rate.trim().parse().unwrap())
}
