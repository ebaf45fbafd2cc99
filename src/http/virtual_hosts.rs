//! Several doors behind one socket, told apart by the host that a request names.
//!
//! A request goes to the door whose hosts include its own, or else to the first, which refuses what it does not
//! serve. Over TLS the name that the connection asked for leads to the same door, or the request is
//! misdirected.
//!
//! Never here: whether a request's host is well formed; the door checks that.

use std::sync::Arc;

use http::Request;
use http::header::HOST;

use super::framing::is_among;

/// The name that a TLS connection asked for, in the extensions of each of its requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AskedName(pub(super) Arc<str>);

/// A request for one virtual host, on a connection that asked for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misdirected;

/// Doors and their hosts: at least one; no host is two doors'.
#[derive(Debug)]
pub struct VirtualHosts<D>(Vec<(Vec<String>, D)>);

impl<D> VirtualHosts<D> {
    /// Doors with the hosts of each, in lower case, with or without a port. Only a door that is alone may have
    /// none.
    pub const fn new(doors: Vec<(Vec<String>, D)>) -> Self {
        Self(doors)
    }

    /// The door of a request; `None` when there is no door at all.
    pub fn door<B>(&self, request: &Request<B>) -> Result<Option<&D>, Misdirected> {
        if let [(_, only)] = self.0.as_slice() {
            return Ok(Some(only));
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let place = host.and_then(|host| self.place(host));
        let asked = request.extensions().get::<AskedName>().and_then(|name| self.place_of_name(&name.0));
        match (place, asked) {
            (Some(place), Some(asked)) if place != asked => Err(Misdirected),
            _ => Ok(self.0.get(place.unwrap_or(0)).map(|(_, door)| door)),
        }
    }

    fn place(&self, host: &str) -> Option<usize> {
        self.0.iter().position(|(hosts, _)| is_among(host, hosts))
    }

    fn place_of_name(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(hosts, _)| hosts.iter().any(|host| is_named(host, name)))
    }
}

/// Whether `host`, with or without a port, is called `name`.
pub(super) fn is_named(host: &str, name: &str) -> bool {
    let without_port =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    without_port.map_or(host, |(host, _)| host).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors() -> VirtualHosts<&'static str> {
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        VirtualHosts::new(vec![(hosts(&["a.example", "a2.example"]), "a"), (hosts(&["b.example:8443"]), "b")])
    }

    fn door(host: &str, asked: Option<&str>) -> Result<Option<&'static str>, Misdirected> {
        let mut request = Request::builder().header("host", host).body(()).unwrap();
        if let Some(name) = asked {
            request.extensions_mut().insert(AskedName(name.into()));
        }
        doors().door(&request).map(Option::<&&str>::copied)
    }

    #[test]
    fn a_host_leads_to_its_door_and_a_stranger_to_the_first() {
        for (host, found) in [
            ("a.example", "a"),
            ("A.example:443", "a"),
            ("a2.example", "a"),
            ("b.example:8443", "b"),
            ("b.example:1", "a"),
            ("evil.example", "a"),
        ] {
            assert_eq!(door(host, None), Ok(Some(found)), "{host}");
        }
        assert_eq!(doors().door(&Request::new(())), Ok(Some(&"a")));
    }

    #[test]
    fn a_connection_for_one_host_does_not_reach_the_door_of_another() {
        assert_eq!(door("a.example", Some("b.example")), Err(Misdirected));
        assert_eq!(door("b.example:8443", Some("a.example")), Err(Misdirected));
        assert_eq!(door("a.example", Some("a2.example")), Ok(Some("a")));
        assert_eq!(door("b.example:8443", Some("B.example")), Ok(Some("b")));
        assert_eq!(door("b.example:8443", Some("evil.example")), Ok(Some("b")));
        assert_eq!(door("evil.example", Some("b.example")), Ok(Some("a")));
    }

    #[test]
    fn one_door_alone_takes_everything() {
        let doors = VirtualHosts::new(vec![(Vec::new(), "a")]);
        assert_eq!(doors.door(&Request::new(())), Ok(Some(&"a")));
        assert_eq!(VirtualHosts::<()>::new(Vec::new()).door(&Request::new(())), Ok(None));
    }
}
