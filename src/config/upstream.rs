//! What stands behind a gate, as a file says it.
//!
//! Never here: a connection to it.

use super::reader::Field;
use super::settings::UpstreamSetting;

/// The upstream of one profile.
pub(super) fn upstream(field: &Field<'_>) -> Option<UpstreamSetting> {
    if !field.is_text() {
        return field.refused("expected \"sandbox\" or an http:// URL; a command is not supported yet");
    }
    let text = field.text()?;
    if text == "sandbox" {
        return Some(UpstreamSetting::Sandbox);
    }
    if text.starts_with("https://") || text.starts_with("unix:") {
        return field
            .refused("expected \"sandbox\" or an http:// URL; https:// and unix: are not supported yet");
    }
    let form =
        "\"sandbox\" or an http:// URL of a host and perhaps a port, such as \"http://127.0.0.1:3000\"";
    field.parsed(form, |text| {
        let uri: http::Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let fits = uri.scheme_str() == Some("http")
            && uri.path() == "/"
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && !authority.host().is_empty();
        fits.then_some(UpstreamSetting::Http(uri))
    })
}
