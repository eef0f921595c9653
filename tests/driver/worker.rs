//! The mailbox of the module's thread (`src/kernel/worker.rs`) as a model, in every interleaving of its steps: whoever
//! leaves a reason writes the bit and then sets the event; the thread lets the event through, which resets it, and then
//! takes the bits. No reason may be left when all have done and the thread waits. Either order turned round loses one.

/// One step of a thread of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Leaves this reason.
    Leave(u32),
    SetEvent,
    /// Goes on when the event is set, and resets it.
    Wait,
    Take,
    /// As `Wait`, in two steps: the event stays set until it is reset.
    Pass,
    Reset,
}

#[derive(Clone, Copy, Default)]
struct Mailbox {
    reasons: u32,
    event: bool,
    taken: u32,
}

impl Mailbox {
    /// The mailbox after the step; nothing if the thread has to wait.
    fn after(mut self, step: Step) -> Option<Self> {
        match step {
            Step::Leave(reason) => self.reasons |= reason,
            Step::SetEvent => self.event = true,
            Step::Wait => {
                if !std::mem::take(&mut self.event) {
                    return None;
                }
            }
            Step::Take => self.taken |= std::mem::take(&mut self.reasons),
            Step::Pass if !self.event => return None,
            Step::Pass => {}
            Step::Reset => self.event = false,
        }
        Some(self)
    }
}

/// Interleavings of wakers that do `wake` once, each with a reason of its own, and a thread that does `round` for ever;
/// those counted in which a reason is left while the thread waits.
struct Model<'a> {
    wake: [&'a [Step]; 2],
    round: &'a [Step],
    ends: u32,
    lost: u32,
}

impl Model<'_> {
    fn explore(&mut self, mailbox: Mailbox, wakers: [usize; 2], at: usize) {
        let mut stuck = true;
        for (waker, done) in wakers.into_iter().enumerate() {
            if let Some(step) = self.wake[waker].get(done) {
                stuck = false;
                let mut further = wakers;
                further[waker] += 1;
                self.explore(mailbox.after(*step).expect("wakers do not wait"), further, at);
            }
        }
        if let Some(next) = mailbox.after(self.round[at % self.round.len()]) {
            // A thread that takes nothing over and over gets no further.
            if at < 4 * self.round.len() {
                self.explore(next, wakers, at + 1);
            }
        } else if stuck {
            self.ends += 1;
            self.lost += u32::from(mailbox.taken != 3);
        }
    }
}

/// How many ends there are, and in how many a reason is lost.
fn explored(wake: fn(u32) -> [Step; 2], round: &[Step]) -> (u32, u32) {
    let (first, second) = (wake(1), wake(2));
    let mut model = Model { wake: [&first, &second], round, ends: 0, lost: 0 };
    model.explore(Mailbox::default(), [0; 2], 0);
    (model.ends, model.lost)
}

#[test]
fn a_reason_that_is_left_before_the_event_is_set_is_never_lost() {
    let (ends, lost) = explored(|reason| [Step::Leave(reason), Step::SetEvent], &[Step::Wait, Step::Take]);
    assert!(ends > 10 && lost == 0, "{lost} of {ends}");
}

#[test]
fn the_model_finds_either_order_turned_round() {
    let (_, lost) = explored(|reason| [Step::SetEvent, Step::Leave(reason)], &[Step::Wait, Step::Take]);
    assert!(lost > 0);
    let late = &[Step::Pass, Step::Take, Step::Reset];
    let (_, lost) = explored(|reason| [Step::Leave(reason), Step::SetEvent], late);
    assert!(lost > 0);
}
