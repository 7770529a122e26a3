// SPDX-License-Identifier: Apache-2.0
package shop;

import java.util.concurrent.CompletableFuture;

/** What CartServer offers over Dubbo and CartClient calls. */
public interface Cart {
    String add(String item, int count) throws Full;

    CompletableFuture<String> addLater(String item, int count);

    /** Throws what no caller expects. */
    void remove(String item);

    /** Called without waiting for an answer. */
    void note(String text);

    /** The cart takes no more. */
    final class Full extends Exception {
        private static final long serialVersionUID = 1;

        public Full(String message) {
            super(message);
        }
    }
}
