//! `doctor`: what works in this network, and what to do about the rest.

use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::{Command, Finding, Grade, Reply, Target};
use serde_json::json;

use super::Context;
use super::args::RelayArgs;
use super::exit::Exit;
use super::instance::{Instance, Purpose, reach};

pub(crate) async fn run(
    peer: Option<String>,
    relays: &RelayArgs,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let relays = context.use_relays(relays);
    let Context {
        global,
        paths,
        settings,
        ..
    } = context;
    // Relays and peers see the port that is used otherwise, too.
    let purpose = Purpose::Transfer(None);
    let instance = reach(global, paths, settings, purpose).await?;
    let told = super::tell_relays(&instance, relays).await;
    let looked = match told {
        Ok(()) => look(peer, &instance, context).await,
        Err(fault) => Err(fault),
    };
    instance.close().await;
    let findings = looked?;
    report(&findings, context).await;
    let exit = exit(&findings);
    let out = &mut context.out;
    if out.is_json() {
        out.object("summary", json!({ "exit": exit.0 })).await;
    }
    Ok(exit)
}

async fn look(
    peer: Option<String>,
    instance: &Instance,
    context: &mut Context,
) -> Result<Vec<Finding>, Fault> {
    context
        .out
        .say("Looking at the network for a few seconds...");
    let call = peer.map(Target::Text);
    let reply = tokio::select! {
        reply = instance.node.call(Command::CheckNetwork { call }) => reply?,
        _ = context.signals.next() => return Err(Fault::Cancelled),
    };
    if let Reply::Checked(findings) = reply {
        return Ok(findings);
    }
    Err(super::send::unexpected(&reply))
}

/// What is told to scripts: why the peer was not reached, else whether anything is wrong.
fn exit(findings: &[Finding]) -> Exit {
    match findings.iter().find_map(Finding::fault) {
        Some(fault) => Exit::of(fault),
        None if findings.iter().any(|one| one.grade() == Grade::Bad) => Exit::NO_WAY,
        None => Exit::OK,
    }
}

async fn report(findings: &[Finding], context: &mut Context) {
    let out = &mut context.out;
    for finding in findings {
        let (text, advice) = words(finding);
        if out.is_json() {
            let grade = match finding.grade() {
                Grade::Good => "good",
                Grade::Hint => "hint",
                Grade::Bad => "bad",
            };
            let body = json!({
                "code": finding.code(), "grade": grade, "text": text, "advice": advice,
            });
            out.object("finding", body).await;
            continue;
        }
        let mark = match finding.grade() {
            Grade::Good => "ok   ",
            Grade::Hint => "hint ",
            Grade::Bad => "BAD  ",
        };
        out.line(&format!("{mark}{text}")).await;
        if let Some(advice) = &advice {
            out.line(&format!("     {advice}")).await;
        }
    }
}

fn words(finding: &Finding) -> (String, Option<String>) {
    let face = Face::CommandLine;
    (finding.text(face), finding.advice(face))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_reached_is_what_scripts_are_told_and_hints_are_no_failure() {
        let peer = String::from("anna");
        let gone = Finding::PeerNotReached(Fault::PeerOffline { peer });
        assert_eq!(exit(&[Finding::NoNetwork, gone.clone()]).0, 3);
        assert_eq!(exit(&[Finding::NoNetwork]).0, Exit::NO_WAY.0);
        assert_eq!(exit(&[Finding::NobodyNear, Finding::Quiet]).0, 0);
    }
}
