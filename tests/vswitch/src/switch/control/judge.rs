//! Checks of a completed request from above.

use super::*;

/// Checks a completed request from above.
pub(super) fn judge(world: &World, state: &mut State, key: usize, above: &Above, answer: &Answer) {
    // SAFETY: freed only by the caller, later.
    let now = unsafe { *(key as *const OidRequest) };
    let oid = above.oid;
    state.note_refused(world, above);
    rule(world, "OID-03", above.completed == 1, || {
        format!("request {oid:#x} completed {} times", above.completed)
    });
    rule(world, "OID-08", !above.clone_alive, || format!("request {oid:#x} completed with its clone alive"));
    unchanged(world, above, &now, answer);
    course::stayed(world, above, state.modules[above.module].learned_at);
    if above.reached_below {
        let below = above.below_status;
        rule(world, "OID-17", below == Some(answer.status), || {
            format!(
                "request {oid:#x} ended with {:#x} below and {:#x} above",
                below.unwrap_or(0),
                answer.status
            )
        });
        let (expected, got) = (above.results, results(&now));
        rule(world, "OID-07", expected[..4] == got[..4], || {
            format!("results of {oid:#x}: {expected:?} below, {got:?} above")
        });
    }
    if oid == oids::SWITCH_NIC_REQUEST {
        crate::check::offload::judge(world, state, above, answer);
    }
    let starved = answer.starved && answer.status == RESOURCES;
    let refused = !above.reached_below && !starved;
    portnic::decided(
        world,
        state,
        above,
        portnic::Decision { refused, status: answer.status, bytes: (answer.written, answer.needed) },
    );
}

fn unchanged(world: &World, above: &Above, now: &OidRequest, answer: &Answer) {
    // Bytes 52..72 hold results, and METHOD's MethodId, which is compared by itself.
    let bytes = bytes_at(std::ptr::from_ref(now) as usize, REQUEST_SIZE);
    // For a request to a NIC, OID-52 checks where it points.
    let to_nic = above.oid == oids::SWITCH_NIC_REQUEST;
    let skip = |i: usize| {
        (52..72).contains(&i) || i == 232 || (72..200).contains(&i) || to_nic && (40..48).contains(&i)
    };
    let head = (0..REQUEST_SIZE).all(|i| skip(i) || bytes[i] == above.request_before[i]);
    let method_id = above.kind != request_type::METHOD || bytes[56..60] == above.request_before[56..60];
    let oid = above.oid;
    rule(world, "OID-01", head, || format!("request {oid:#x} was edited"));
    course::ended(world, above, answer, method_id, now);
    let answers = above.kind != request_type::SET_INFORMATION && oid != oids::SWITCH_NIC_REQUEST;
    if !answers {
        portnic::payload_kept(world, above, &answer.payload);
    }
    if oid == oids::SWITCH_NIC_REQUEST {
        let same = above.length == 0 || now.information_buffer as usize == above.buffer;
        rule(world, "OID-52", same, || "the outer request points to another envelope".to_owned());
    }
}
