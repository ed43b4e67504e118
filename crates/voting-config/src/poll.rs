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

    /// Name of the second choice, different from the first.
    #[arg(long, env = "VOTE2VALUE", value_name = "NAME", default_value = "Dogs")]
    pub vote2value: ChoiceName,
}

impl PollArgs {
    /// The choices of the poll.
    ///
    /// # Errors
    /// [`InvalidSetting`]: both names are equal.
    pub fn choices(self) -> Result<Choices, InvalidSetting> {
        Choices::new(self.vote1value, self.vote2value).map_err(|EqualChoices(name)| {
            InvalidSetting::of("VOTE2VALUE", &name, "equals VOTE1VALUE; allowed: two different names")
        })
    }
}
