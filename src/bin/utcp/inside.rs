//! What this program does when it runs itself inside namespaces.

use crate::netns::Place;
use crate::trouble::{Result, Trouble};
use crate::{compare, netns, scene};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// A job for the inside.
#[derive(Serialize, Deserialize)]
pub enum Job {
    /// One of the demo's scenes.
    Scene(scene::Script),
    /// Programs for a comparison.
    Compare(compare::Runs),
}

/// The hidden subcommand.
pub fn run(job: &str, place: Place) -> Result<ExitCode> {
    let job = serde_json::from_str(job).map_err(|e| Trouble::new("not a job", e))?;
    match job {
        Job::Compare(runs) => netns::inside(place, || compare::play(&runs))?,
        Job::Scene(script) => netns::inside(place, || scene::play(&script))?,
    }
    Ok(ExitCode::SUCCESS)
}
