//! Going over to another policy.
//!
//! What is asked for is compared, recorded, and then init is told. From init's word on, which comes
//! in the order in which it decides, everything is decided by the new policy.

use super::*;
use crate::supervisor::gate::Waiting;
use crate::supervisor::reload::{Answer as Done, Changed, Door, Found, Ground};

/// Why a question is taken away.
const RELOADED: &str = "another policy holds now, which decides it";

/// See the module.
pub(in crate::supervisor) struct Reloads {
    door: Door,
    ground: Ground,
    /// What init has been told and has not said yes to.
    waiting: Option<(Call, Changed)>,
    done: Vec<Reload>,
}

impl Reloads {
    /// Lets itself be found. Inside the runtime.
    ///
    /// # Errors
    /// When the socket cannot be listened to.
    pub(super) fn of(found: Found) -> Result<Reloads, RunError> {
        let Found { listening, ground } = found;
        Ok(Reloads {
            door: Door::open(listening).map_err(RunError::io("listen for", "other policies"))?,
            ground,
            waiting: None,
            done: Vec::new(),
        })
    }

    /// The next thing that is asked. Safe to drop.
    pub(super) async fn next(&mut self) -> Call {
        self.door.next().await
    }

    /// What the run has gone over to.
    pub(super) fn done(self) -> Vec<Reload> {
        self.done
    }
}

impl Drive {
    /// Has the run go over to what is asked for, or says why not.
    pub(super) fn take_call(&mut self, call: Call) {
        let Some(reloads) = &self.reloads else { return };
        if reloads.waiting.is_some() {
            let why = "it is going over to another policy just now; ask again".to_owned();
            return call.answer(Done::Refused(why));
        }
        let changed = match reloads.ground.change(&call.asked) {
            Ok(changed) => changed,
            Err(why) => return self.keep_policy(call, why),
        };
        let event = Event::Reload(reloaded(
            &reloads.ground,
            &changed,
            self.gate.generation() + 1,
        ));
        if let Err(error) = self.gate.record(&event) {
            call.answer(Done::Refused(error.to_string()));
            return self.end(Cause::Failure(error.to_string()));
        }
        let Some(rules) = &changed.rules else {
            return self.go_over(call, changed);
        };
        let generation = self.gate.generation() + 1;
        match (
            self.sandbox.notices.reload(generation, rules),
            &mut self.reloads,
        ) {
            (Ok(()), Some(reloads)) => reloads.waiting = Some((call, changed)),
            (Ok(()), None) => {}
            (Err(error), _) => self.keep_policy(call, format!("tell the sandbox's init: {error}")),
        }
    }

    /// Init has gone over to the new rules, or has not.
    pub(super) fn take_reloaded(&mut self, generation: u64, failed: Option<String>) {
        let waiting = self
            .reloads
            .as_mut()
            .and_then(|reloads| reloads.waiting.take());
        match (waiting, failed) {
            (Some((call, changed)), None) if generation == self.gate.generation() + 1 => {
                self.go_over(call, changed);
            }
            (Some((call, _)), Some(why)) => {
                self.keep_policy(call, format!("the sandbox's init could not: {why}"));
            }
            // Two of ours would hold different policies.
            _ => self.end(Cause::Failure(
                "the sandbox's init has other rules".to_owned(),
            )),
        }
    }

    fn keep_policy(&mut self, call: Call, why: String) {
        self.record(&Event::ReloadRefused { why: why.clone() });
        call.answer(Done::Refused(why));
    }

    fn go_over(&mut self, call: Call, changed: Changed) {
        let generation = self.gate.go_over(changed.policy.clone());
        self.close_denied(&changed.policy);
        // Init has looked at the calls again that waited for an answer.
        let (desk, approval) = (&mut self.desk, changed.policy.approval());
        for case in desk.go_over(approval, RELOADED, &mut self.audience) {
            self.record(&questions::answered(&case, &Answer::Deny, Some(RELOADED)));
            for held in case.calls {
                if let Waiting::Connection(question, _) = held.waiting {
                    self.take_wanted(*question);
                }
            }
        }
        self.show_questions();
        self.audience.remark(Remark::Reloaded {
            generation,
            layers: changed.layers.clone(),
        });
        let Some(reloads) = &mut self.reloads else {
            return;
        };
        let told = changed.told(reloads.door.id(), generation, &reloads.ground.digest);
        reloads
            .done
            .push(reloaded(&reloads.ground, &changed, generation));
        reloads.ground.digest = changed.digest;
        reloads.ground.policies = changed.policies;
        reloads.ground.policy = changed.policy;
        call.answer(Done::Reloaded(told));
    }
}

fn reloaded(ground: &Ground, changed: &Changed, generation: u64) -> Reload {
    Reload {
        generation,
        from: ground.digest.clone(),
        to: changed.digest.clone(),
        layers: changed.layers.clone(),
    }
}
