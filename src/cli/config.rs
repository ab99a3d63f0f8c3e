//! `config`: shows settings and changes them.

use peerconnect::config::Setting;
use peerconnect::fault::Fault;
use peerconnect::node::api::Command;
use peerconnect::text::Shown;

use super::Context;
use super::exit::Exit;
use super::instance::{Purpose, reach};

/// Where everything is kept.
pub(crate) async fn show_paths(context: &mut Context) -> Result<Exit, Fault> {
    let folders = &context.paths;
    let rows = vec![
        ("settings", folders.settings_file().display().to_string()),
        ("identity", folders.data.display().to_string()),
        ("state", folders.state.display().to_string()),
        ("socket", folders.control_socket().display().to_string()),
        ("downloads", context.settings.folder.display().to_string()),
    ];
    show(rows, context).await
}

/// All settings, or this one.
pub(crate) async fn show_settings(key: Option<&str>, context: &mut Context) -> Result<Exit, Fault> {
    let mut rows = context.settings.rows();
    if let Some(key) = key {
        // Says which key was meant if there is none of this name.
        rows.retain(|(known, _)| *known == key);
        if rows.is_empty() {
            Setting::parse(key, "")?;
        }
    }
    show(rows, context).await?;
    if key.is_none() {
        let file = context.paths.settings_file();
        let text = format!(
            "Change one with: peerconnect config KEY VALUE. They are kept in {}",
            file.display()
        );
        context.out.say(&text);
    }
    Ok(Exit::OK)
}

/// Changes a setting, in the instance that runs as well.
pub(crate) async fn set(key: &str, value: &str, context: &mut Context) -> Result<Exit, Fault> {
    let setting = Setting::parse(key, value)?;
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let reply = instance.node.call(Command::Set(setting)).await;
    let chosen = instance.node.overview().borrow().chosen.clone();
    let running = instance.is_shared();
    instance.close().await;
    reply?;
    if running && chosen.after_restart.iter().any(|waits| waits == key) {
        let text = "Kept. The running PeerConnect uses it after its next start.";
        context.out.say(text);
    }
    Ok(Exit::OK)
}

async fn show(rows: Vec<(&str, String)>, context: &mut Context) -> Result<Exit, Fault> {
    let out = &mut context.out;
    if out.is_json() {
        let body: serde_json::Map<_, _> = rows
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        out.object("config", body).await;
        return Ok(Exit::OK);
    }
    for (key, value) in rows {
        out.line(&format!("{key:17} {}", Shown(&value))).await;
    }
    Ok(Exit::OK)
}
