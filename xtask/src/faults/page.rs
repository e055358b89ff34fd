//! The gateway's own address is flooded: the part `inband` of the actions, whose figures are taken over.

use anyhow::Result;

use super::stage::Stage;
use crate::actions::{Tried, inband};
use crate::demo::Checks;
use crate::demo::gateway::Driver;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.drop_gateway();
    let (stop, binary, driver) =
        (stage.stop, stage.binary.clone(), stage.options.driver.unwrap_or(Driver::AfXdp));
    let mut checks = Checks::default();
    let ran = {
        let mut tried = Tried::new(&mut checks);
        inband::run(stage.lab()?, &binary, driver, &mut tried, stop)
    };
    for (what, fine, words) in checks.all().filter(|(what, ..)| what.starts_with("flooded")) {
        stage.found(what, words, "as it says", fine);
    }
    ran
}
