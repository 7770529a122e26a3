# SPDX-License-Identifier: Apache-2.0
"""One connection to a Kafka broker that says what it asked and what came of it, in the versions that a test wants."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from kafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest, DescribeGroupsRequest, ListGroupsRequest
from kafka.protocol.consumer import (
    FetchRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    ListOffsetsRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
)
from kafka.protocol.metadata import ApiVersionsRequest, FindCoordinatorRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

_EARLIEST = -2


def records(*values: bytes) -> bytes:
    builder = MemoryRecordsBuilder(2, 0, 1 << 20)
    for number, value in enumerate(values):
        builder.append(timestamp=1_700_000_000_000 + number, key=None, value=value)
    builder.close()
    return bytes(builder.buffer())


def first_error(value: Any) -> int:
    """The first error code that is not 0, in the order of the message's fields."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            code = int(inner) if name == "error_code" else first_error(inner)
            if code:
                return code
    elif isinstance(value, list):
        for inner in value:
            if code := first_error(inner):
                return code
    return 0


class Client:
    """`said` counts (request content, response content) of what was asked and answered."""

    def __init__(self, port: int, name: str | None = "tests") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._protocol = KafkaProtocol(client_id=name)
        self.said: Counter[tuple[str, str]] = Counter()
        self.sent = self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *requests: Any, topic: str = "") -> list[Any]:
        """Sends all of them at once and gives back what is answered."""
        names = [f"{type(request).__name__.split('Request')[0]} {topic}".rstrip() for request in requests]
        for request in requests:
            self._protocol.send_request(request)
        data = self._protocol.send_bytes()
        self.sent += len(data)
        self._socket.sendall(data)
        answered = [name for name, request in zip(names, requests, strict=True) if request.expect_response()]
        self.said.update(
            (name, "") for name, request in zip(names, requests, strict=True) if not request.expect_response()
        )
        answers: list[Any] = []
        while len(answers) < len(answered):
            data = self._socket.recv(1 << 20)
            assert data, "the broker hung up"
            self.received += len(data)
            answers += [answer for _, answer in self._protocol.receive_bytes(data)]
        for name, answer in zip(answered, answers, strict=True):
            self.said[name, str(first_error(answer.to_dict()))] += 1
        return answers

    def metadata(self, version: int, *topics: str) -> Any:
        named = [MetadataRequest.MetadataRequestTopic(name=topic) for topic in topics]
        request = MetadataRequest(version=version, topics=named, allow_auto_topic_creation=False)
        return self.ask(request, topic=topics[0] if topics else "")[0]

    def create(self, version: int, topic: str) -> Any:
        wanted = CreateTopicsRequest.CreatableTopic(
            name=topic, num_partitions=1, replication_factor=1, assignments=[], configs=[]
        )
        return self.ask(CreateTopicsRequest(version=version, topics=[wanted], timeout_ms=10000), topic=topic)[0]

    def delete(self, version: int, topic: str) -> None:
        states = [DeleteTopicsRequest.DeleteTopicState(name=topic)]
        request = DeleteTopicsRequest(version=version, topics=states, topic_names=[topic], timeout_ms=10000)
        self.ask(request, topic=topic)

    @staticmethod
    def producing(
        version: int, topic: str, *values: bytes, topic_id: Any = None, acks: int = -1, partition: int = 0
    ) -> Any:
        kind = ProduceRequest.TopicProduceData
        data = [kind.PartitionProduceData(index=partition, records=records(*values))]
        named = [kind(name=topic, topic_id=topic_id, partition_data=data)]
        return ProduceRequest(version=version, acks=acks, timeout_ms=10000, topic_data=named)

    def produce(self, version: int, topic: str, *values: bytes, **more: Any) -> None:
        self.ask(self.producing(version, topic, *values, **more), topic=topic)

    def fetch(
        self,
        version: int,
        topic: str,
        *,
        topic_id: Any = None,
        offset: int = 0,
        session: tuple[int, int] = (0, -1),
        named: bool = True,
        wait_ms: int = 100,
    ) -> Any:
        kind = FetchRequest.FetchTopic
        wanted = [kind.FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)]
        request = FetchRequest(
            version=version,
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=1 << 24,
            session_id=session[0],
            session_epoch=session[1],
            topics=[kind(topic=topic, topic_id=topic_id, partitions=wanted)] if named else [],
            forgotten_topics_data=[],
        )
        return self.ask(request, topic=topic)[0]

    def offsets(self, version: int, topic: str) -> None:
        kind = ListOffsetsRequest.ListOffsetsTopic
        wanted = [kind.ListOffsetsPartition(partition_index=0, timestamp=_EARLIEST)]
        request = ListOffsetsRequest(version=version, topics=[kind(name=topic, partitions=wanted)], timeout_ms=10000)
        self.ask(request, topic=topic)

    def versions(self, *versions: int) -> None:
        for version in versions:
            self.ask(ApiVersionsRequest(version=version, client_software_name="tests", client_software_version="1"))

    def coordinator(self, version: int, group: str) -> Any:
        return self.ask(FindCoordinatorRequest(version=version, key=group, key_type=0, coordinator_keys=[group]))[0]

    def join(self, version: int, group: str, member: str = "") -> Any:
        protocols = [JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"")]
        request = JoinGroupRequest(
            version=version,
            group_id=group,
            session_timeout_ms=10000,
            rebalance_timeout_ms=10000,
            member_id=member,
            protocol_type="consumer",
            protocols=protocols,
        )
        return self.ask(request)[0]

    def group(self, group: str, topic: str, topic_id: Any, versions: Sequence[int]) -> None:
        """Joins, works and leaves. Versions are those of join, sync, heartbeat, commit, fetch and leave."""
        join, sync, beat, commit, fetch, leave = versions
        answer = self.join(join, group)
        if answer.error_code:
            answer = self.join(join, group, answer.member_id)
        member, generation = answer.member_id, answer.generation_id
        kind = {"group_id": group, "generation_id": generation, "member_id": member}
        shares = [SyncGroupRequest.SyncGroupRequestAssignment(member_id=member, assignment=b"x")]
        self.ask(
            SyncGroupRequest(version=sync, **kind, assignments=shares, protocol_type="consumer", protocol_name="range")
        )
        self.ask(HeartbeatRequest(version=beat, **kind))
        self.ask(HeartbeatRequest(version=beat, **{**kind, "member_id": "nobody"}))
        topics = OffsetCommitRequest.OffsetCommitRequestTopic
        done = [topics.OffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata="")]
        self.ask(
            OffsetCommitRequest(
                version=commit,
                group_id=group,
                generation_id_or_member_epoch=generation,
                member_id=member,
                topics=[topics(name=topic, topic_id=topic_id, partitions=done)],
            ),
            topic=topic,
        )
        self.committed(fetch, group, topic, topic_id)
        going = [LeaveGroupRequest.MemberIdentity(member_id=member)]
        self.ask(LeaveGroupRequest(version=leave, group_id=group, member_id=member, members=going))

    def committed(self, version: int, group: str, topic: str, topic_id: Any) -> None:
        groups = OffsetFetchRequest.OffsetFetchRequestGroup
        of_group = [groups.OffsetFetchRequestTopics(name=topic, topic_id=topic_id, partition_indexes=[0])]
        self.ask(
            OffsetFetchRequest(
                version=version,
                group_id=group,
                topics=[OffsetFetchRequest.OffsetFetchRequestTopic(name=topic, partition_indexes=[0])],
                groups=[groups(group_id=group, member_id=None, member_epoch=-1, topics=of_group)],
            ),
            topic=topic,
        )

    def groups(self, group: str) -> None:
        self.ask(ListGroupsRequest(version=4, states_filter=[]))
        self.ask(DescribeGroupsRequest(version=5, groups=[group]))

    def producer(self, version: int) -> None:
        self.ask(InitProducerIdRequest(version=version, transactional_id=None, transaction_timeout_ms=1000))


def topic_id_of(metadata: Any) -> Any:
    return metadata.topics[0].topic_id


def work(client: Client, topic: str) -> None:
    """Produces, fetches and tells of topics in every version that a broker of Kafka 4.1 takes, with each kind of error."""
    client.versions(0, 1, 2, 3, 4)
    client.create(7, topic)
    client.create(5, topic)
    client.metadata(0, topic)
    client.metadata(0, "missing")
    for version in range(4, 14):
        answer = client.metadata(version, topic)
    topic_id = topic_id_of(answer)
    for version in range(3, 14):
        client.produce(version, topic, b"a", b"b", topic_id=topic_id)
    client.produce(9, topic, b"c", acks=0)
    client.produce(8, topic, b"c", partition=9)
    client.produce(13, topic, b"c", partition=9, topic_id=topic_id)
    for version in range(4, 18):
        client.fetch(version, topic, topic_id=topic_id)
    client.fetch(7, topic, offset=1000)
    client.fetch(16, topic, offset=1000, topic_id=topic_id)
    for version in (11, 15):
        session = client.fetch(version, topic, topic_id=topic_id, session=(0, 0)).session_id
        for epoch in (1, 2):
            client.fetch(version, topic, session=(session, epoch), named=False, wait_ms=1)
    for version in range(1, 11):
        client.offsets(version, topic)
    for version in range(1, 6):
        client.producer(version)
    client.ask(*(client.producing(9, topic, b"%d" % number) for number in range(8)), topic=topic)


def consume(client: Client, group: str, topic: str) -> None:
    """Groups, in every version that a broker of Kafka 4.1 takes."""
    while client.coordinator(3, group).error_code:
        pass
    for version in range(7):
        client.coordinator(version, group)
    topic_id = topic_id_of(client.metadata(12, topic))
    for versions in (
        (2, 1, 0, 2, 1, 1),
        (4, 3, 3, 7, 5, 3),
        (5, 4, 4, 8, 6, 4),
        (7, 5, 4, 9, 8, 5),
        (9, 5, 4, 9, 9, 5),
    ):
        client.group(group, topic, topic_id, versions)
    client.committed(2, group, "missing", topic_id)
    client.groups(group)
    client.delete(6, topic)
    client.delete(1, "missing")
