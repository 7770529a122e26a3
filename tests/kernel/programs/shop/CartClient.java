// SPDX-License-Identifier: Apache-2.0
package shop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.EchoService;
import org.apache.dubbo.rpc.service.GenericException;
import org.apache.dubbo.rpc.service.GenericService;

/**
 * Calls of all kinds, and a silence if heartbeats are short:
 * java -cp <Dubbo's jars and these classes> shop.CartClient <port> <serialization> <rounds> <heartbeat ms>
 *
 * Afterwards each kind is a line: what was called, what came of it (value, exception, none, failed), how often.
 */
public final class CartClient {
    private static final int AT_ONCE = 12;
    private static final int WAIT_MS = 30_000;
    /** 127.0.0.1: where Dubbo sees those digits it goes to the first address that is not of the loopback device instead. */
    private static final String LOOPBACK = "2130706433";
    private final String url;
    private final int heartbeat;
    private final Map<String, Integer> done = new TreeMap<>();

    private CartClient(String port, String serialization, int heartbeat) {
        this.heartbeat = heartbeat;
        url = "dubbo://" + LOOPBACK + ":" + port + "?serialization=" + serialization + "&heartbeat=" + heartbeat;
    }

    private void count(String method, String outcome) {
        done.merge("shop.Cart#" + method + "\t" + outcome, 1, Integer::sum);
    }

    private void call(String method, Callable<?> body) throws Exception {
        try {
            body.call();
            count(method, "value");
        } catch (RpcException failure) {
            count(method, "failed");
        } catch (Cart.Full | IllegalStateException | GenericException thrown) {
            count(method, "exception");
        }
    }

    private <T> ReferenceConfig<T> reference(Class<T> type, String version) {
        ReferenceConfig<T> reference = new ReferenceConfig<>();
        reference.setInterface("shop.Cart");
        reference.setUrl(url);
        reference.setVersion(version);
        reference.setTimeout(WAIT_MS);
        reference.setRetries(0);
        reference.setConnections(0); // all references share one connection
        return reference;
    }

    private void work(int rounds) throws Exception {
        ReferenceConfig<Cart> typed = reference(Cart.class, "1.0");
        MethodConfig note = new MethodConfig();
        note.setName("note");
        note.setReturn(false);
        typed.setMethods(List.of(note));
        Cart cart = typed.get();
        for (int round = 0; round < rounds; round++) {
            call("add", () -> cart.add("apple", 1));
            call("add", () -> cart.add("pear", 101));
            call("remove", () -> {
                cart.remove("plum");
                return null;
            });
            cart.note("nobody answers");
            count("note", "none");
            manyAtOnce(cart);
        }
        call("add", () -> cart.add("x".repeat(rounds * 10_000), 1));
        call("$echo", () -> ((EchoService) cart).$echo("anybody there"));
        ReferenceConfig<GenericService> generic = reference(GenericService.class, "1.0");
        generic.setGeneric("true");
        String[] types = {"java.lang.String", "int"};
        call("$invoke", () -> generic.get().$invoke("add", types, new Object[] {"apple", 1}));
        call("$invoke", () -> generic.get().$invoke("add", types, new Object[] {"apple", 101}));
        Cart missing = reference(Cart.class, "2.0").get();
        call("add", () -> missing.add("apple", 1));
        if (heartbeat < 1000) {
            Thread.sleep(3L * heartbeat);
        }
    }

    private void manyAtOnce(Cart cart) throws Exception {
        List<CompletableFuture<String>> open = new ArrayList<>();
        for (int i = 0; i < AT_ONCE; i++) {
            open.add(cart.addLater("apple", i));
        }
        for (CompletableFuture<String> one : open) {
            one.get(WAIT_MS, TimeUnit.MILLISECONDS);
            count("addLater", "value");
        }
    }

    public static void main(String[] arguments) {
        int status = 1; // Dubbo's threads would keep a failed one alive.
        try {
            ApplicationConfig application = new ApplicationConfig("cart-client");
            application.setQosEnable(false);
            application.setRegisterConsumer(false); // else it offers a service that describes it
            DubboBootstrap.getInstance().application(application).start();
            CartClient client = new CartClient(arguments[0], arguments[1], Integer.parseInt(arguments[3]));
            client.work(Integer.parseInt(arguments[2]));
            client.done.forEach((kind, count) -> System.out.println(kind + "\t" + count));
            status = 0;
        } catch (Exception | Error failure) {
            failure.printStackTrace();
        } finally {
            System.out.flush();
            Runtime.getRuntime().halt(status);
        }
    }
}
