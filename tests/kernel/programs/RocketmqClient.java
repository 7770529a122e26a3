// SPDX-License-Identifier: Apache-2.0
// What clients of RocketMQ do, with the official client: java -cp <its jars> RocketmqClient.java <name server> <broker> <part...>
//
// Afterwards each request is a line: the port of who was asked, what was asked, and the code of the answer ("none" where none
// was wanted, "lost" where none came). What a broker asked the client is among them.

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQClientManager;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

public final class RocketmqClient {
    private static final long WAIT_MS = 30_000;
    private static final Map<Integer, String> NAMES = new HashMap<>();

    private record Asked(String port, String content) {}

    /** Everything that the client's connections carry passes here, but for the answers to what it asks asynchronously. */
    private static final class Log implements RPCHook {
        private final ConcurrentLinkedQueue<Map.Entry<RemotingCommand, Asked>> asked = new ConcurrentLinkedQueue<>();
        private final Map<RemotingCommand, Integer> answered = new ConcurrentHashMap<>();

        @Override
        public void doBeforeRequest(String address, RemotingCommand request) {
            request.makeCustomHeaderToNet();
            String port = address.substring(address.lastIndexOf(':') + 1);
            asked.add(Map.entry(request, new Asked(port, content(request))));
        }

        @Override
        public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {
            if (response != null) {
                answered.put(request, response.getCode());
            }
        }

        void print() {
            for (Map.Entry<RemotingCommand, Asked> one : asked) {
                Asked said = one.getValue();
                Integer code = answered.get(one.getKey());
                String answer = one.getKey().isOnewayRPC() ? "none" : code == null ? "lost" : code.toString();
                System.out.println(said.port() + "\t" + said.content() + "\t" + answer);
            }
        }

        private static String content(RemotingCommand request) {
            Map<String, String> fields = request.getExtFields();
            boolean isSent = request.getCode() == RequestCode.SEND_MESSAGE_V2
                || request.getCode() == RequestCode.SEND_BATCH_MESSAGE;
            String topic = fields == null ? null : fields.get(isSent ? "b" : "topic");
            if (topic != null) {
                return "Topic:" + topic;
            }
            return NAMES.getOrDefault(request.getCode(), Integer.toString(request.getCode()));
        }
    }

    private static final class Client {
        private final String nameServer;
        private final String broker;
        private final Log log = new Log();

        Client(String nameServer, String broker) {
            this.nameServer = nameServer;
            this.broker = broker;
        }

        /** A topic, messages of all kinds, and a consumer of them: all over one connection to each server. */
        void work() throws Exception {
            DefaultMQAdminExt admin = new DefaultMQAdminExt(log, WAIT_MS);
            admin.setNamesrvAddr(nameServer);
            admin.setInstanceName("one");
            admin.start();
            admin.createAndUpdateTopicConfig(broker, new TopicConfig("orders", 1, 1));
            DefaultMQProducer producer = new DefaultMQProducer("shop", log);
            producer.setNamesrvAddr(nameServer);
            producer.setInstanceName("one");
            producer.setSendMsgTimeout((int) WAIT_MS);
            producer.setRetryTimesWhenSendFailed(0);
            producer.start();
            awaitRoute(producer);
            int sent = send(producer);
            DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("readers", log);
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName("one");
            consumer.setEnableStreamRequestType(false); // else it has a connection of its own
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe("orders", "*");
            consumer.start();
            MQClientInstance instance = MQClientManager.getInstance().getOrCreateMQClientInstance(producer);
            for (int got = 0; got < sent;) {
                instance.sendHeartbeatToAllBrokerWithLock(); // else the broker may not know the group for 30 s
                got += consumer.poll(1000).size();
            }
            consumer.commit();
            // The broker asks it of the consumer.
            instance.getMQClientAPIImpl()
                .getConsumerRunningInfo(broker, "readers", producer.buildMQClientId(), false, WAIT_MS);
            consumer.shutdown();
            producer.shutdown();
            admin.shutdown();
        }

        /** A broker listens before it has told its name server of itself. */
        private static void awaitRoute(DefaultMQProducer producer) throws Exception {
            for (long end = System.currentTimeMillis() + WAIT_MS;;) {
                try {
                    producer.fetchPublishMessageQueues("orders");
                    return;
                } catch (MQClientException missing) {
                    if (System.currentTimeMillis() > end) {
                        throw missing;
                    }
                    Thread.sleep(100);
                }
            }
        }

        private int send(DefaultMQProducer producer) throws Exception {
            int sent = 0;
            for (int size : new int[] {1, 10, 100, 1000, 10_000, 300_000}) {
                Message message = new Message("orders", "tag", "key" + size, new byte[size]);
                message.putUserProperty("note", "\"said\" {[");
                producer.send(message);
                sent++;
            }
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                batch.add(new Message("orders", ("of many " + i).getBytes(StandardCharsets.UTF_8)));
                sent++;
            }
            producer.send(batch);
            Message noisy = new Message("orders", new byte[10]);
            noisy.putUserProperty("much", "x".repeat(2000));
            producer.send(noisy);
            producer.sendOneway(new Message("orders", new byte[10]));
            try {
                producer.send(new Message("nowhere", new byte[10]));
                throw new IllegalStateException("there is no such topic");
            } catch (MQClientException expected) {
                return sent + 2;
            }
        }

        /** Requests that are refused, and many at a time. */
        void ask() throws Exception {
            NettyRemotingClient client = new NettyRemotingClient(new NettyClientConfig());
            client.registerRPCHook(log);
            client.start();
            Map<String, String> nobody = Map.of("consumerGroup", "nobody", "topic", "no-such", "queueId", "0");
            client.invokeSync(broker, command(RequestCode.QUERY_CONSUMER_OFFSET, nobody), WAIT_MS);
            client.invokeSync(broker, command(999, Map.of()), WAIT_MS);
            client.invokeSync(broker, command(RequestCode.GET_MAX_OFFSET, Map.of("topic", "no-such", "queueId", "0")), WAIT_MS);
            client.invokeSync(broker, command(RequestCode.GET_BROKER_RUNTIME_INFO, Map.of()), WAIT_MS);
            client.invokeSync(broker, command(RequestCode.GET_CONSUMER_LIST_BY_GROUP, Map.of("consumerGroup", "nobody")), WAIT_MS);
            client.invokeOneway(broker, command(RequestCode.GET_TOPIC_CONFIG, Map.of("topic", "not/a topic")), WAIT_MS);
            for (int round = Integer.getInteger("rounds", 30); round > 0; round--) {
                manyAtOnce(client, 16);
            }
            client.shutdown();
        }

        private void manyAtOnce(NettyRemotingClient client, int count) throws Exception {
            CountDownLatch open = new CountDownLatch(count);
            for (int i = 0; i < count; i++) {
                boolean isThere = i % 4 != 0;
                RemotingCommand request = isThere
                    ? command(RequestCode.GET_MIN_OFFSET, Map.of("topic", "orders", "queueId", "0"))
                    : command(RequestCode.GET_TOPIC_CONFIG, Map.of("topic", "no-such"));
                client.invokeAsync(broker, request, WAIT_MS, future -> {
                    log.doAfterResponse(broker, request, future.getResponseCommand());
                    open.countDown();
                });
            }
            if (!open.await(WAIT_MS, TimeUnit.MILLISECONDS)) {
                throw new IllegalStateException(open.getCount() + " answers are missing");
            }
        }

        private static RemotingCommand command(int code, Map<String, String> fields) {
            RemotingCommand command = RemotingCommand.createRequestCommand(code, null);
            command.setExtFields(new HashMap<>(fields));
            return command;
        }
    }

    public static void main(String[] arguments) throws Exception {
        for (Field field : RequestCode.class.getFields()) {
            if (Modifier.isStatic(field.getModifiers())) {
                NAMES.put(field.getInt(null), field.getName());
            }
        }
        int status = 1; // The client's threads would keep a failed one alive.
        try {
            Client client = new Client(arguments[0], arguments[1]);
            for (int i = 2; i < arguments.length; i++) {
                if (arguments[i].equals("work")) {
                    client.work();
                } else {
                    client.ask();
                }
            }
            client.log.print();
            status = 0;
        } catch (Exception | Error failure) {
            failure.printStackTrace();
        } finally {
            System.out.flush();
            Runtime.getRuntime().halt(status);
        }
    }
}
