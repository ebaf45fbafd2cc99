//! nginx: as a proxy that decides nothing, and as people make it check keys: a map of them and `limit_req`, or Lua with
//! a dictionary in shared memory.
//!
//! Never here: `return` beside `limit_req`, which answers before the limit is asked. What is limited needs a handler
//! of its own, here the one that gives an empty picture.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::process::{Core, Process, free_address, installed, on};

/// Where Debian puts modules.
const MODULES: &str = "/usr/lib/nginx/modules";

/// The program, if it is installed.
pub(crate) fn program() -> Option<String> {
    installed("nginx", "-v")
}

/// Whether Lua is there for it as well.
pub(crate) fn has_lua() -> bool {
    Path::new(MODULES).join("ngx_http_lua_module.so").exists()
}

/// Forwards everything, as its own guide sets up a proxy: HTTP/1.1 and connections kept.
pub(crate) fn proxy(dir: &Path, upstream: SocketAddr) -> Process {
    start(dir, "", &far(upstream), PASS)
}

/// Admits these keys so many times a second each, and answers itself.
pub(crate) fn limiter(dir: &Path, keys: &[String], per_sec: u64) -> Process {
    start(dir, "", &limits(keys, per_sec), &(limited(per_sec) + "empty_gif;\n"))
}

/// The same in front of an upstream.
pub(crate) fn limiting_proxy(dir: &Path, keys: &[String], per_sec: u64, upstream: SocketAddr) -> Process {
    start(dir, "", &(limits(keys, per_sec) + &far(upstream)), &(limited(per_sec) + PASS))
}

/// The same as [`limiter`] in Lua, over two dictionaries in memory that its workers share.
pub(crate) fn lua(dir: &Path, keys: &[String], per_sec: u64) -> Process {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("keys"), keys.join("\n")).unwrap();
    let modules =
        format!("load_module {MODULES}/ndk_http_module.so;\nload_module {MODULES}/ngx_http_lua_module.so;\n");
    let http = format!(
        "lua_shared_dict clients 32m;\nlua_shared_dict counts 32m;\n\
         init_by_lua_block {{\n\
         for key in io.lines('{}/keys') do ngx.shared.clients:set(key, 'client-' .. key:sub(9, 16)) end\n}}\n",
        dir.display()
    );
    let location = format!(
        "access_by_lua_block {{\n\
         local said = ngx.var.http_authorization\n\
         local client = said and ngx.shared.clients:get(said:sub(8))\n\
         if not client then return ngx.exit(401) end\n\
         local count = ngx.shared.counts:incr(client, 1, 0, 1)\n\
         if count > {per_sec} then return ngx.exit(429) end\n}}\nempty_gif;\n"
    );
    start(dir, &modules, &http, &location)
}

const PASS: &str = "proxy_pass http://far;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n";

fn limited(burst: u64) -> String {
    format!("if ($client = \"\") {{ return 401; }}\nlimit_req zone=clients burst={burst} nodelay;\n")
}

fn far(upstream: SocketAddr) -> String {
    format!("upstream far {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n")
}

fn limits(keys: &[String], per_sec: u64) -> String {
    let mut text = String::from(
        "map_hash_max_size 65536;\nmap_hash_bucket_size 128;\nmap $http_authorization $client {\n",
    );
    for (number, key) in keys.iter().enumerate() {
        writeln!(text, "\"Bearer {key}\" client{number:08};").unwrap();
    }
    writeln!(
        text,
        "default \"\";\n}}\nlimit_req_zone $client zone=clients:32m rate={per_sec}r/s;\nlimit_req_status 429;"
    )
    .unwrap();
    text
}

fn start(dir: &Path, modules: &str, http: &str, location: &str) -> Process {
    std::fs::create_dir_all(dir).unwrap();
    let address = free_address();
    let mut paths = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(paths, "{name}_temp_path {}/{name};", dir.display()).unwrap();
    }
    let text = format!(
        "{modules}worker_processes 1;\ndaemon off;\npid {dir}/nginx.pid;\nevents {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\n{paths}{http}\
         server {{\nlisten {address};\nlocation / {{\n{location}}}\n}}\n}}\n",
        dir = dir.display()
    );
    let conf = dir.join("nginx.conf");
    std::fs::write(&conf, text).unwrap();
    let mut command = on(Core::Servers, program().unwrap());
    command.arg("-p").arg(dir).arg("-c").arg(conf).arg("-e").arg(dir.join("nginx.log"));
    Process::listening(&mut command, address, &dir.join("said.log"))
}
