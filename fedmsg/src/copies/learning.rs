//! What the answers of relays mean for those who wait for copies.

use super::Copies;
use crate::delivered::Point;
use crate::delivery::Outcome;
use crate::envelope::Epoch;
use crate::identity::Identity;
use crate::keys::KeyRing;
use crate::stored::Claim;

impl<C> Copies<C> {
    /// Takes what an answer of a relay came to. `end` is the end of the stream, `keys` are those that are trusted now. In
    /// words why the relay has no copy that counts, where that is news.
    pub(crate) fn learn(
        &mut self,
        relay: &Identity,
        outcome: &Outcome,
        end: Option<Point>,
        keys: &KeyRing,
    ) -> Option<String> {
        let why = match outcome {
            Outcome::Taken { receipt: Some(claim), .. } => self.claimed(relay, claim, keys)?,
            Outcome::Taken { receipt: None, .. } => "it takes messages without storing them".into(),
            Outcome::Failed(why) => why.clone(),
            Outcome::Refused(refusal) => {
                let to = Point { epoch: refusal.from.epoch, i: refusal.to };
                let why = format!("{}: {}", refusal.reason, refusal.text);
                self.refused(relay, refusal.from..=to, &why);
                return None;
            }
            Outcome::NeedsEpoch => {
                // It goes on in the next epoch, and is never given the rest of this one.
                let first = Point { epoch: Epoch::new(uuid::Uuid::nil()), i: 0 };
                let why = "it lacks messages before it that are gone here";
                self.refused(relay, first..=end.unwrap_or(first), why);
                return None;
            }
            Outcome::Back | Outcome::Nothing => return None,
        };
        self.failed(relay, &why).then_some(why)
    }

    /// Counts what somebody has signed for; in words what is wrong with that.
    fn claimed(&mut self, relay: &Identity, claim: &Claim, keys: &KeyRing) -> Option<String> {
        let signer = match claim.verify(keys) {
            Ok(signer) => signer,
            Err(error) => return Some(error.to_string()),
        };
        // Whoever hands it on: it is the word of the one who has signed it.
        let counts = self.stored(&signer, claim.epoch, &claim.numbers);
        let but = if counts { "" } else { ", which is no holder that counts" };
        (signer != *relay).then(|| format!("its receipt is that of {signer}{but}"))
    }
}
