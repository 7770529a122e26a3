// SPDX-License-Identifier: Apache-2.0
package shop;

import java.util.concurrent.CompletableFuture;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** A provider of Dubbo without a registry: java -cp <its jars and these classes> shop.CartServer <port>. */
public final class CartServer implements Cart {
    @Override
    public String add(String item, int count) throws Full {
        if (count > 100) {
            throw new Full(item);
        }
        return item + " added";
    }

    @Override
    public CompletableFuture<String> addLater(String item, int count) {
        return CompletableFuture.supplyAsync(() -> item + " added");
    }

    @Override
    public void remove(String item) {
        throw new IllegalStateException("no " + item);
    }

    @Override
    public void note(String text) {
    }

    public static void main(String[] arguments) {
        ApplicationConfig application = new ApplicationConfig("cart-server");
        application.setQosEnable(false);
        ProtocolConfig protocol = new ProtocolConfig("dubbo", Integer.parseInt(arguments[0]));
        protocol.setHost("127.0.0.1");
        ServiceConfig<Cart> service = new ServiceConfig<>();
        service.setInterface(Cart.class);
        service.setRef(new CartServer());
        service.setVersion("1.0");
        DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"))
            .protocol(protocol).service(service).start().await();
    }
}
