//! Names that are taken by different content. A file that waits for the person's answer is held by
//! the sender as one that is being compared: it takes part in nothing, and holds up nothing.

use super::{Run, discard};
use crate::config::{ConflictAnswer, ConflictPolicy};
use crate::net::link::{Inbound, Offence};
use crate::protocol::message::{FileIndex, Outcome, Scope, SinkFault};
use crate::storage::name::SafePath;
use crate::transfer::ended::Ended;
use crate::transfer::partial::{Partial, Place};
use crate::transfer::plan::part_tag;
use crate::transfer::rivals::Rival;
use crate::transfer::status::FileState;

impl<L: Inbound> Run<'_, L> {
    /// The person is asked; the sender waits for what there is of the file.
    pub(super) fn wait_for_answer(&mut self, index: FileIndex, rival: Rival) {
        self.incoming.table.lock().set_rival(index, rival);
        self.show(index, FileState::Asking);
    }

    /// It turned out that the name of a file is taken: when it was compared, or when it should get
    /// the name.
    pub(super) async fn taken_name(
        &mut self,
        index: FileIndex,
        partial: Partial,
    ) -> Result<(), Ended> {
        let name = self.incoming.table.lock().path(index).to_owned();
        let taken = self.taken()?;
        let outcome = match taken.policy(&name) {
            ConflictPolicy::Ask => return self.ask(index, partial, &name).await,
            // The person said so meanwhile.
            ConflictPolicy::Rename | ConflictPolicy::Overwrite => {
                return self.on_checked(index, partial).await;
            }
            ConflictPolicy::Skip => Outcome::Skipped,
            ConflictPolicy::Fail => Outcome::Failed(SinkFault::Exists),
        };
        discard(partial).await;
        self.settle_as(index, outcome, None).await
    }

    async fn ask(&mut self, index: FileIndex, partial: Partial, name: &str) -> Result<(), Ended> {
        let folder = self.taken()?.rules.folder.clone();
        let path = SafePath::parse(name).map_err(|_| Ended::Misbehaved(Offence::NotAskedFor))?;
        let look = tokio::task::spawn_blocking(move || Rival::look(&folder, &path));
        match look.await.map_err(|e| Ended::Lost(e.to_string()))? {
            Some(rival) => {
                let done = match &partial.place {
                    Place::Existing(_) => 0,
                    Place::Nowhere | Place::Part(_) | Place::Closed(_) => partial.bytes(),
                };
                {
                    let mut table = self.incoming.table.lock();
                    let size = table.file_size(index).unwrap_or(0);
                    table.set_done(index, done.min(size));
                    table.set_rival(index, rival);
                }
                self.keep(index, partial);
                Ok(())
            }
            // It went away just now: the name is free.
            None => self.on_checked(index, partial).await,
        }
    }

    /// The person has answered, about one file or about all of this kind.
    pub(super) async fn on_answer(
        &mut self,
        scope: Scope,
        answer: ConflictAnswer,
    ) -> Result<(), Ended> {
        for index in self.incoming.answered(scope, answer) {
            let id = self.incoming.id;
            let partial = self.taken()?.partials.remove(&index);
            match answer {
                ConflictAnswer::Skip => {
                    if let Some(partial) = partial {
                        discard(partial).await;
                    }
                    self.settle_as(index, Outcome::Skipped, None).await?;
                }
                ConflictAnswer::KeepBoth | ConflictAnswer::Replace => {
                    let partial = partial.unwrap_or_else(|| Partial::new(part_tag(id, index)));
                    self.on_checked(index, partial).await?;
                }
            }
        }
        Ok(())
    }
}
