//! The settings of the poll.

use clap::Args;
use voting_core::choice::EqualChoices;
use voting_core::{ChoiceName, Choices};

use crate::setting::InvalidSetting;

/// The choices of the poll.
#[derive(Args, Clone, Debug)]
pub struct PollArgs {
    /// Name of the first choice: 1 to 100 characters.
    #[arg(long, env = "VOTE1VALUE", value_name = "NAME", default_value = "Cats")]
    pub vote1value: ChoiceName,

    /// Name of the second choice, which does not look like the first.
    #[arg(long, env = "VOTE2VALUE", value_name = "NAME", default_value = "Dogs")]
    pub vote2value: ChoiceName,
}

impl PollArgs {
    /// The choices of a poll that takes votes.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the names are equal or look alike, or one shows nothing.
    pub fn choices(self) -> Result<Choices, InvalidSetting> {
        for (variable, name) in [("VOTE1VALUE", &self.vote1value), ("VOTE2VALUE", &self.vote2value)] {
            if !name.is_visible() {
                let reason = "shows nothing; allowed: 1 to 100 characters that are not all invisible";
                return Err(InvalidSetting::of(variable, name.as_str(), reason));
            }
        }
        if self.vote1value != self.vote2value && self.vote1value.looks_like(&self.vote2value) {
            let reason = format!(
                "looks like VOTE1VALUE, {:?}; allowed: two names that differ in more than case, white space, width and \
                 invisible characters",
                self.vote1value.as_str()
            );
            return Err(InvalidSetting::of("VOTE2VALUE", self.vote2value.as_str(), reason));
        }
        self.stored_choices()
    }

    /// The choices of a poll whose votes are in a store. Earlier versions took votes for names that look alike.
    ///
    /// # Errors
    /// [`InvalidSetting`]: both names are equal.
    pub fn stored_choices(self) -> Result<Choices, InvalidSetting> {
        Choices::new(self.vote1value, self.vote2value).map_err(|EqualChoices(name)| {
            InvalidSetting::of("VOTE2VALUE", &name, "equals VOTE1VALUE; allowed: two different names")
        })
    }
}
