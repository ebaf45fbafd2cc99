//! `keyward install-secret`: a new install secret for a running daemon.
//!
//! With `--json` the daemon's answer is printed as it came. Names are shown, never a secret.
//!
//! Never here: the file of the secrets, which only the daemon writes.

use hyper::Method;

use super::admin_client::AdminClient;
use super::arguments::InstallSecretCommand;
use super::failure::CliError;
use super::output::{Output, cell};

/// Runs an `install-secret` command.
pub(super) async fn install_secret(
    command: InstallSecretCommand,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let InstallSecretCommand::Rotate { reach } = command;
    let client = AdminClient::reach(&reach)?;
    let answer = client.call(Method::POST, "/api/v1/install-secret/rotate", None).await?;
    if json {
        output.line(&answer.text);
        return Ok(());
    }
    let rows = ["current", "retired"].map(|name| vec![name.to_owned(), cell(answer.value.get(name))]);
    output.table(&rows);
    output.remark("Back up install.secret now: it holds the new secret, and the retired ones behind it.");
    Ok(())
}
