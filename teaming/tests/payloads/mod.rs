//! Invariants of any payload of an offload request. Used by tests and by the fuzz target `payloads`.

use teaming::oid::payload::{QueueArray, checked, command, made, restore_queue, size, translate};
use teaming::oid::{OIDS, OidContext, Resource};

/// Checks one payload under every OID that may carry it: no result depends on bytes beyond the size in the header, and
/// writes stay inside their field.
pub fn hold(bytes: &[u8]) {
    for row in OIDS.iter().filter(|row| row.place == OidContext::Envelope && row.payload.is_some()) {
        let needed = size(row.oid).expect("a payload");
        let vouched = checked(bytes, needed);
        let read = command(row.oid, bytes);
        assert_eq!(read.is_some(), vouched.is_some(), "{}", row.words().name);
        let (Some(vouched), Some(read)) = (vouched, read) else { continue };
        assert!(vouched.len() >= needed && vouched.len() <= bytes.len());
        assert_eq!(
            command(row.oid, vouched),
            Some(read),
            "{} depends on what lies behind it",
            row.words().name
        );
        let mut copy = bytes.to_vec();
        let done = translate(&read, &mut copy, |_, id| id.checked_add(1));
        assert_eq!(copy.len(), bytes.len());
        let changed = copy.iter().zip(bytes).filter(|(a, b)| a != b).count();
        assert!(changed <= 12, "{}: {changed} bytes of three ids at most", row.words().name);
        if done.is_none() {
            continue;
        }
        let mut same = bytes.to_vec();
        assert_eq!(translate(&read, &mut same, |_, id| Some(id)), Some(()));
        assert_eq!(same, bytes, "{}: the same ids are the same bytes", row.words().name);
    }
    for resource in [Resource::Queue, Resource::Filter, Resource::Vf, Resource::Vport, Resource::Sa] {
        let _ = made(resource, bytes);
    }
    let mut copy = bytes.to_vec();
    let _ = restore_queue(&mut copy, 7);
    hold_array(bytes);
}

/// Checks the array of completed queues: every element lies inside, and splitting it keeps the elements of each queue.
fn hold_array(bytes: &[u8]) {
    let Some(array) = QueueArray::read(bytes) else { return };
    // An element of size 0 is rejected, so the number of elements is bounded by the length.
    assert!(array.len() * 16 <= bytes.len(), "{} elements in {} bytes", array.len(), bytes.len());
    let queues: Vec<_> = array.queues(bytes).collect();
    assert_eq!(queues.len(), array.len());
    assert_eq!((array.queue(bytes, array.len()), array.status(bytes, array.len())), (None, None));
    let mut out = vec![0xEE; array.part_size()];
    let mut indexes = Vec::new();
    let written = array.part(bytes, &mut out, |index, queue| {
        (index % 2 == 0).then(|| {
            indexes.push(index);
            queue
        })
    });
    assert_eq!(written.is_some(), !array.is_empty());
    let Some(written) = written else { return };
    assert!(out[written..].iter().all(|&byte| byte == 0xEE), "nothing is written behind the part");
    let part = QueueArray::read(&out[..written]).expect("a part is an array");
    let expected: Vec<_> = indexes.iter().map(|&index| queues[index]).collect();
    assert_eq!(part.queues(&out).collect::<Vec<_>>(), expected);
    for (position, &index) in indexes.iter().enumerate() {
        assert_eq!(part.status(&out, position), array.status(bytes, index));
    }
    let mut copy = bytes.to_vec();
    for (position, &index) in indexes.iter().enumerate() {
        array.set_status(&mut copy, index, u32::try_from(position).expect("a small number")).expect("inside");
    }
    assert_eq!(QueueArray::read(&copy).map(|array| array.len()), Some(array.len()));
}
