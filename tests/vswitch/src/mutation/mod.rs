//! The mutations: each is one way in which a driver can break one rule, and the rule that must then be named.
//!
//! A mutation proves that a check finds what it is for: the border around a driver changes one call in its name, and the
//! verifier must name the rule. Those of the machine are carried out in `machine`, the others in `inject`.

mod occasion;

macro_rules! mutations {
    (
        machine { $($(#[$of_machine:meta])* $machine:ident $(=> $machine_rule:literal)?,)* }
        border { $($(#[$of_border:meta])* $border:ident => $border_rule:literal,)* }
    ) => {
        /// One way to misbehave.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Mutation { $($(#[$of_machine])* $machine,)* $($(#[$of_border])* $border,)* }

        /// Mutations of calls to the kernel, each with the rule that must be named. Those without one are found by the
        /// races that follow.
        pub const MACHINE: &[(Mutation, &str)] = &[$($((Mutation::$machine, $machine_rule),)?)*];

        /// Mutations of calls between the driver and NDIS or the switch, each with the rule that must be named.
        pub const BORDER: &[(Mutation, &str)] = &[$((Mutation::$border, $border_rule),)*];
    };
}

mutations! {
    machine {
        /// Spin locks raise IRQL but exclude nobody. Found by races.
        NoTeamLock,
        /// The writer neither waits for readers nor keeps them out. Found by the races that follow.
        NoBarrier,
        /// Waiting for the walks to leave returns at once, that for other work does not. STATE-11, -24 or MEM follow.
        NoRundown,
        /// The first RW lock taken is never released.
        KeepLock => "LOCK-03",
        /// The first reader takes its lock again and again while a writer waits.
        Overtake => "LOCK-06",
        /// The first spin lock released leaves IRQL at DISPATCH.
        KeepIrql => "IRQL-02",
        /// A spin lock is released only after the next call that leaves the driver.
        LateUnlock => "LOCK-01",
        /// The RW lock is said to be taken at DISPATCH when it is not.
        FalseDispatchOfLock => "LOCK-03",
        /// The first wait happens with a lock held.
        WaitUnderLock => "LOCK-04",
        SwapLockOrder => "LOCK-05",
        CallTooHigh => "IRQL-01",
        WaitTooHigh => "IRQL-03",
        /// The first pool block is paged.
        PagedPool => "MEM-01",
        /// The first pool block freed is not: a leak.
        LeakPool,
        /// The first pool block freed is freed again.
        FreeTwice => "MEM-02",
        /// The first pool block is freed with another tag.
        WrongTag => "MEM-02",
        /// One byte beyond the first pool block freed is written.
        Overrun => "MEM-02",
        /// One byte of the first pool block freed is written afterwards.
        WriteAfterFree => "MEM-02",
        /// The first entry of the error log is said to have a string more.
        ManyStrings => "MEM-10",
        /// The provider of trace events stays registered.
        KeepProvider => "MEM-11",
        UnregisterTwice => "MEM-11",
        /// The first trace event lacks its last byte.
        CutEvent => "MEM-12",
        /// The first timer freed is still set.
        FreeSetTimer => "MEM-02",
        /// The first rundown reference is released twice.
        ReleaseTwice => "LOCK-03",
        /// The first rundown reference is taken outside a critical region.
        NoRegion => "LOCK-07",
        /// Rundown protection is not said to be completed.
        SkipCompleted => "LOCK-08",
        NoJoin => "IRQL-05",
        NoFlush => "STATE-32",
        /// The first timer freed expires.
        KeepTimer => "STATE-33",
    }
    border {
        /// A chain is sent a second time.
        SendTwice => "DATA-01",
        /// A chain is indicated a second time.
        IndicateTwice => "DATA-02",
        /// A list is written to after it was sent.
        WriteAfterSend => "DATA-03",
        /// An own list is passed to NdisFSendNetBufferListsComplete.
        CompleteOwn => "DATA-04",
        /// A completed list is not passed on.
        KeepCompleted => "DATA-05",
        /// A NET_BUFFER is lost from a list before it is completed.
        SwapBuffers => "DATA-06",
        /// The start of a packet stays moved.
        MoveData => "DATA-07",
        /// The end of a chain points to its beginning.
        Cycle => "DATA-08",
        /// A switch port number is used as NDIS port number.
        SendPortNumber => "DATA-10",
        /// The count of an indication is wrong.
        WrongIndicateCount => "DATA-11",
        /// A list of a cancelled id stays in a queue.
        HoldCancelled => "DATA-14",
        /// One NET_BUFFER of a list is sent twice, another never.
        SameBufferTwice => "DATA-15",
        /// A handler is called for an own list before it has a context.
        GetBeforeContext => "DATA-16",
        /// The context is allocated before SourceHandle is set.
        ContextBeforeHandle => "DATA-17",
        /// SourceHandle of a foreign list is overwritten.
        ChangeSourceHandle => "DATA-18",
        /// Only the first own list of a chain got a context.
        ForgetSecondContext => "DATA-19",
        FreeContextTwice => "DATA-20",
        FreeForeignContext => "DATA-21",
        /// NET_BUFFER_LIST_CONTEXT space is left on a foreign list.
        LeaveContext => "DATA-22",
        WrongSwitchContext => "DATA-23",
        /// A destination array is written after Grow replaced it.
        StaleArray => "DATA-24",
        /// A reserved bit of the forwarding detail is set.
        WriteDetail => "DATA-25",
        SetForeignSource => "DATA-27",
        SetUnknownSource => "DATA-28",
        /// A packet from nowhere is dropped like an unknown guest's.
        DropTrusted => "DATA-30",
        /// Out-of-band data of a foreign list is not restored.
        WriteOob => "DATA-32",
        /// A drop is reported as the destination's doing.
        BlameDestination => "HOST-01",
        /// An own list goes out and its parent does not count it.
        ForgetChildCount => "HOST-06",
        /// The driver keeps a note in the reserved bits of an 802.1Q tag.
        ReservedTagBit => "HOST-07",
        /// A packet is sent without a destination.
        NoDestination => "DATA-33",
        /// The header of a destination array is written.
        WriteArrayHeader => "DATA-35",
        UpdateTooMany => "DATA-36",
        /// After a failed Grow the old array is used as if it had grown.
        IgnoreFailedGrow => "DATA-39",
        GrowUncommitted => "DATA-40",
        /// After a failed Add the packet is sent all the same.
        IgnoreFailedAdd => "DATA-41",
        EditCommitted => "DATA-42",
        ToUnknownPort => "DATA-43",
        IndexOnGuestPort => "DATA-44",
        /// The team is named, not a member of it.
        IndexZeroOfTeam => "DATA-45",
        /// The external port is used while no member is connected.
        ToDeadTeam => "DATA-46",
        ReservedBits => "DATA-47",
        /// The element is not zeroed: what stood in the slot shows.
        StaleBits => "DATA-48",
        /// A packet from one member leaves through another.
        BackOut => "DATA-50",
        AddOnEgress => "DATA-51",
        /// A destination is committed after its DISCONNECT was passed down.
        AfterDisconnect => "DATA-54",
        AddToNative => "DATA-57",
        DropNative => "DATA-58",
        GroupNative => "DATA-59",
        /// A native packet is completed instead of passed on.
        CompleteNative => "DATA-61",
        /// A packet of an external virtual subnet is passed on without a destination, as if it were native.
        PassSubnet => "DATA-62",
        WriteEgressBytes => "DATA-63",
        /// The member is chosen from two readings of a packet that its guest writes.
        TornReading => "DATA-64",
        /// An own list over a guest's memory says that its data is safe, or one of nobody's that it is not.
        ClaimSafe => "DATA-66",
        SourceBeforeCopy => "DATA-67",
        /// An own list does not carry the out-of-band data of its parent.
        ForgetOob => "DATA-68",
        PreserveOnIngress => "DATA-69",
        /// The parent is completed while a child is out.
        CompleteParent => "DATA-70",
        IndicateOwn => "DATA-71",
        IndicateChanged => "DATA-72",
        OwnToNowhere => "DATA-73",
        /// An own list goes out from a NIC that is not connected any more.
        OwnFromGoneNic => "DATA-74",
        /// The pause completes while own lists are out.
        PauseEarly => "DATA-75",
        /// A packet is sent although its memory could not be mapped.
        SendUnmapped => "DATA-77",
        DropSilently => "DATA-78",
        MixedReport => "DATA-79",
        ReportWrongPort => "DATA-80",
        ReportWrongCount => "DATA-81",
        ReportNoName => "DATA-82",
        /// A destination is excluded without an update.
        ExcludeSilently => "DATA-83",
        /// An exclusion is taken back.
        TakeBackExclusion => "DATA-84",

        FalseSingleSource => "FLAGS-01",
        /// An own list of another source joins a SINGLE_SOURCE chain.
        OwnJoins => "FLAGS-03",
        FalseSingleComplete => "FLAGS-04",
        FalseSingleIndicate => "FLAGS-05",
        FalseSingleReturn => "FLAGS-06",
        FalseGroup => "FLAGS-07",
        GroupOfSeveral => "FLAGS-08",
        FalseReceiveGroup => "FLAGS-11",
        Resources => "FLAGS-12",
        WriteAfterIndicate => "FLAGS-13",
        FalseDispatch => "FLAGS-14",
        /// The DISPATCH flag of a call is used later, on another thread.
        LateDispatch => "FLAGS-16",
        UnknownFlags => "FLAGS-17",

        /// FilterAttach fails when it comes from inside registration.
        AttachTooEarly => "STATE-01",
        WrongUniqueName => "STATE-02",
        NoStatusHandler => "STATE-03",
        AttachAnyway => "STATE-04",
        UseNewerHandler => "STATE-05",
        AttributesTwice => "STATE-06",
        EventWhileAttaching => "STATE-07",
        LeakAtFailedAttach => "STATE-08",
        OtherModulesPacket => "STATE-09",
        PauseFails => "STATE-10",
        /// A queued send is kept across the pause.
        HoldSendAcrossPause => "STATE-11",
        /// A send in the Paused state is completed with another status than PAUSED.
        NotPaused => "STATE-12",
        /// A queued receive is kept across the pause.
        HoldReceiveAcrossPause => "STATE-13",
        RefuseWhilePaused => "STATE-14",
        TimerSends => "STATE-15",
        SendInRestart => "STATE-16",
        TouchAttributes => "STATE-17",
        /// The module runs although a query failed.
        IgnoreFailedQuery => "STATE-18",
        EnumerateTwice => "STATE-19",
        LoseEvent => "STATE-20",
        /// A request is held until the enumeration is over.
        HoldDuringEnumeration => "STATE-21",
        VetoBeforeActivation => "STATE-22",
        LeakAtDetach => "STATE-23",
        EventAfterDetach => "STATE-24",
        FreeBeforeDeregistration => "STATE-26",
        StayRegistered => "STATE-27",
        /// A walk that began before the pause sends after it completed.
        SlipThroughPause => "STATE-30",
        /// After another attach a vNIC is not found where the array said.
        ForgetAfterAttach => "STATE-31",

        /// What came back at once is completed only after FilterOidRequest returned.
        ForgetAtOnce => "OID-05",
        /// A clone that is complete and freed is written to.
        TouchClone => "OID-06",
        /// A request is completed long after all that went down for it is back.
        HoldCompletion => "OID-12",
        /// BytesNeeded is written where a set request has it, over the MethodId.
        WrongArm => "OID-16",
        /// A member whose connection failed below is referenced.
        BelieveFailedConnect => "OID-19",
        RequestUnderLock => "OID-22",
        RequestWhileAttaching => "OID-23",
        WaitInRequest => "OID-25",
        /// A question that failed at once is taken for answered.
        TrustFailedAtOnce => "OID-26",
        /// A question is given up after it was too short twice.
        GiveUpAsking => "OID-32",
        /// Elements of an array are read as if they were as long as their structure.
        StepBySize => "OID-33",
        /// A port is given up while its properties are asked for.
        DereferenceEarly => "OID-35",
        AnswerEnumeration => "OID-36",
        /// A member is asked after its DISCONNECT, without a reference from before.
        SendToDisconnected => "OID-47",
        EnvelopeWhileAttaching => "OID-50",
        /// When a request of the driver's own comes back, the one from above is completed.
        MixUp => "OID-56",
        FreeBuffer => "OID-58",
        /// A packet that came through a queue is kept while the queue is freed.
        HoldQueuePacket => "OFFLOAD-18",
        /// What one member can do is passed on as if it were the team's.
        PassUnread => "STATUS-05",
        IndicateWhileAttaching => "STATUS-12",
        WaitInStatus => "STATUS-15",
        IndicateUnderLock => "STATUS-16",
        LoseDamaged => "STATUS-17",

        /// A request from above is written to.
        EditRequest => "OID-01",
        SendOriginal => "OID-02",
        CompleteRequestTwice => "OID-03",
        CompletePending => "OID-04",
        LoseResults => "OID-07",
        KeepClone => "OID-08",
        CompleteStranger => "OID-09",
        WriteCloneReserved => "OID-10",
        ChangeClone => "OID-14",
        /// A request that means nothing to the extension ends otherwise than below.
        ChangeStatus => "OID-17",
        CancelStranger => "OID-21",
        RequestWithoutHeader => "OID-24",
        LeaveRequest => "OID-27",
        OriginateCreate => "OID-28",
        QueryAsSet => "OID-29",
        /// An array is asked for before the switch is known to be active.
        EarlyArray => "OID-30",
        QueryWithoutHeader => "OID-31",
        ShortEnvelope => "OID-38",
        EnvelopeFlags => "OID-39",
        EnvelopeSource => "OID-42",
        RequestUnreferenced => "OID-45",
        KeepReference => "OID-46",
        /// A request for one adapter goes to the whole team.
        RequestToTeam => "OID-57",
        /// A save with nothing to save is completed.
        SaveNothing => "SAVE-02",
        SavePastRoom => "SAVE-03",
        DemandNothing => "SAVE-04",
        /// The room that was demanded is not enough.
        DemandAgain => "SAVE-06",
        SaveTwice => "SAVE-08",
        /// A save after the first gives nothing.
        ForgetSecondSave => "SAVE-09",
        OtherOwner => "SAVE-10",
        OddName => "SAVE-11",
        LeaveFeatureClass => "SAVE-12",
        WriteFlags => "SAVE-13",
        /// BytesWritten of a save counts the data alone.
        CountDataAlone => "SAVE-14",
        /// Room is demanded that the buffer has.
        DemandWhatIsThere => "HOST-11",
        /// A restore is taken, and nothing said of what was understood and read.
        TakeSilently => "HOST-15",
        /// SAVE_COMPLETE is completed instead of passed on.
        EndSave => "SAVE-16",
        /// Data of one NIC is taken for another's whose restore is under way too.
        CrossTalk => "SAVE-18",
        TakeForeign => "SAVE-19",
        /// Damaged data is put to use.
        BelieveSpoilt => "SAVE-20",
        /// Data is kept for another port than the request names.
        RestoreElsewhere => "SAVE-21",
        /// One of several structures is dropped.
        LosePart => "SAVE-24",
        /// Data that comes before the NIC is connected is dropped.
        LoseEarlyRestore => "SAVE-25",
        LeaveOverflow => "SAVE-27",
        CompleteCreate => "PORTNIC-04",
        VetoMember => "PORTNIC-05",
        DecideConnect => "PORTNIC-07",
        ReferenceStranger => "PORTNIC-11",
        DereferenceTwice => "PORTNIC-14",
        LoseStatus => "STATUS-01",
        RepeatStatus => "STATUS-03",
        StatusWithoutHeader => "STATUS-04",
        /// A payload that is not understood is refused.
        RefuseMalformed => "OID-18",
        /// An inner request that means nothing is written to.
        EditInner => "OID-40",
        /// A redirected request names another source.
        ForgetSource => "OID-41",
        OwnForNobody => "OID-43",
        /// An own request in another's stead does not say for which virtual port it is.
        ForgetTarget => "HOST-16",
        IgnoreLists => "HOST-17",
        /// An offload is originated that nobody asked for.
        OwnUnasked => "OID-44",
        /// A clone goes down after FilterOidRequest returned.
        SendLater => "OID-49",
        LoseInnerResults => "OID-51",
        KeepEnvelope => "OID-52",
        DecideMulticast => "OID-53",
        /// A request is taken for another because of its number alone.
        RefuseMistyped => "OID-55",
        RefuseAssociation => "OFFLOAD-02",
        RefuseFree => "OFFLOAD-03",
        /// A virtual function is said to be allocated, and is not.
        PretendFunction => "OFFLOAD-04",
        FreeTheirs => "OFFLOAD-05",
        /// One of several copies is not given up.
        LeaveCopy => "OFFLOAD-06",
        AskWrongMember => "OFFLOAD-07",
        /// A number is taken for the same one of another member's partition.
        AskNeighbour => "OFFLOAD-08",
        SameNumberTwice => "OFFLOAD-09",
        /// A filter is moved to a virtual port of another partition.
        MoveToStranger => "HOST-12",
        FreeFiltered => "OFFLOAD-11",
        LoseQueueStatus => "OFFLOAD-12",
        FreeDefault => "OFFLOAD-13",
        FilterOnTheirs => "OFFLOAD-14",
        ChangeIdentifier => "OFFLOAD-15",
        /// A virtual function is reset on an adapter that has not allocated it.
        ResetElsewhere => "OFFLOAD-26",
        /// A request for a virtual port goes to another adapter.
        TargetElsewhere => "OFFLOAD-27",
        /// One of several copies keeps its parameters.
        UpdateOneCopy => "OFFLOAD-28",
        /// A packet that an adapter is to encrypt leaves by another.
        SendInTheClear => "OFFLOAD-29",
        PlaceOnDead => "OFFLOAD-22",
        WrongHandle => "OFFLOAD-23",
        /// Without a reference, what must not be refused is refused.
        RefuseUnreferenced => "OFFLOAD-24",
        LateStatus => "STATUS-02",
        ForOneGuest => "STATUS-06",
        RemovalFromTeam => "STATUS-07",
        IndicateUnreferenced => "STATUS-08",
        IndicateForGone => "STATUS-09",
        RemovalWithBytes => "STATUS-10",
        RemoveUnused => "OFFLOAD-19",
        FreeForeignList => "MEM-06",
        /// A member that is only created is used.
        ToCreatedMember => "PORTNIC-03",
        /// The parameters of a port are written to.
        EditPort => "PORTNIC-08",
        ReferenceEarly => "PORTNIC-10",
        /// A DISCONNECT goes down while its port is referenced.
        KeepPortReference => "PORTNIC-12",
        /// A reference of a member is kept until somebody misses it.
        HoldReference => "PORTNIC-15",
        /// Properties of a port are asked for without a reference of it.
        EnumerateUnreferenced => "PORTNIC-16",
        ReferenceTornPort => "PORTNIC-17",
        /// What is for a NIC on a new port with an old number goes elsewhere.
        RememberOldPort => "PORTNIC-18",
        ForgetNewAddress => "PORTNIC-19",
        ChangeMtu => "PORTNIC-20",
        /// Two adapters of one machine are taken for strangers because of what lies behind their machine's name.
        ReadNameTail => "PORTNIC-23",
        /// Adapters of the management OS are taken for one machine's because of a name that is none.
        ReadInvalidName => "PORTNIC-24",
        ToValidationPort => "PORTNIC-25",
        /// A member's index is taken for a position.
        IntoTheGap => "PORTNIC-28",
        /// A NIC whose creation failed below stays known.
        ToFailedNic => "PORTNIC-30",
        /// A DISCONNECT without a CONNECT makes a flood miss a vNIC.
        MiscountVnics => "PORTNIC-33",
        /// A NIC that was announced twice is a destination twice.
        DoubleVnic => "PORTNIC-31",
        /// Every NIC of the array is taken for a connected one.
        ToListedNic => "PORTNIC-32",
        RefuseFlags => "PORTNIC-35",
        EditProperty => "PROP-02",
        /// A VLAN property is accepted and not enforced.
        IgnoreVlan => "PROP-03",
        CompleteVlan => "PROP-04",
        ClaimCustom => "PROP-05",
        DecideCustom => "PROP-06",
        /// A standard property is not enforced because of its id.
        ReadPropertyId => "PROP-07",
        /// A property of the switch that was never provisioned is said to be deleted.
        ClaimSwitchProperty => "PROP-08",
        CompleteDeletion => "PROP-09",
        /// A property that is too short is said to have been taken.
        ClaimTooShort => "PROP-10",
        /// A damaged payload changes what is enforced.
        BelieveDamage => "PROP-11",
        /// A property of a newer minor version is not enforced.
        IgnoreNewerVersion => "PROP-13",
        /// A property that was refused below is enforced.
        KeepRefused => "PROP-14",
        /// Properties from before the attach are not enforced.
        ForgetToEnumerate => "PROP-15",
        CompleteSecurity => "PROP-16",
        AnswerFeature => "PROP-17",
        /// Members of the answer are written that are the caller's.
        EditFeature => "PROP-18",
        /// A question without room for an answer succeeds.
        AnswerWithoutRoom => "PROP-19",
        /// More bytes are said to be written than there is room.
        OverflowFeature => "PROP-20",
        ReserveForValidation => "PROP-22",
        RefuseUnknown => "PROP-23",
        CrossSubnets => "DATA-88",
        IgnorePruning => "DATA-89",
        LetSpoof => "DATA-90",
        /// A VM that comes from another host gets only the groups that it names here.
        ForgetEarlierGroups => "HOST-08",
        /// A VM gets only the groups that it has named.
        TrustGroups => "HOST-10",
        /// A frame goes to an address's owner although another adapter of its VM has taken it over.
        LeaveAtOwner => "EGR-13",
        /// AllowTeaming is taken for the permission to use any adapter's address.
        LendToStrangers => "EGR-14",
        /// The offsets of headers stay as they were with a tag in front of them.
        KeepOffsets => "EGR-15",
        ShowSecondTag => "EGR-16",
        /// A frame to a link-local group comes in.
        LeaveLink => "EGR-7",
        /// A packet for one guest goes to another.
        WrongVnic => "EGR-5",
        /// A packet is assigned to a member that is known to be dead.
        ToDeadMember => "STA-1",
        /// What was refused once is not asked again.
        AskNoMore => "HOST-09",
        Miscount => "RST-4",
        /// A frame from outside is dropped as if it were a copy.
        DropNews => "EGR-6",
        /// A flood that a machine here began comes back in through another member.
        TakeReflection => "EGR-8",
        TakeCopy => "EGR-9",
        /// Unicast goes to the port that had an address before it moved outside.
        KeepMoved => "EGR-10",
        CopyOutside => "EGR-11",
        /// What has its own address as the source goes to its owner.
        ToOwner => "EGR-12",
    }
}

/// The mutations that this rule must name.
pub fn mutations_of(rule: &str) -> impl Iterator<Item = String> {
    let named = BORDER.iter().chain(MACHINE).filter(move |(_, named)| *named == rule);
    named.map(|(mutation, _)| format!("{mutation:?}"))
}

/// Some mutation proves that the check of this rule finds what it is for.
pub fn is_proven(rule: &str) -> bool {
    mutations_of(rule).next().is_some()
}
