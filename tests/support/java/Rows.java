import java.io.BufferedReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Rows for any exported model, built with what is public of its input class. */
public final class Rows {
    /** The rows in {@code file}, whose cells are the properties, parted by tabs; one is NAME:TYPE. */
    public static List<Object> read(Path file, Class<?> inputType, String... named) throws Exception {
        List<String[]> properties = new ArrayList<>();
        for (String one : named) {
            properties.add(one.split(":"));
        }
        Method builderOf = inputType.getMethod("builder");
        Class<?> builderType = builderOf.getReturnType();
        Method build = builderType.getMethod("build");
        List<Method> setters = new ArrayList<>();
        for (String[] property : properties) {
            setters.add(builderType.getMethod(property[0], typeOf(property[1])));
        }
        List<Object> rows = new ArrayList<>();
        try (BufferedReader reader = Files.newBufferedReader(file)) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                String[] cells = line.split("\t", -1);
                Object builder = builderOf.invoke(null);
                try {
                    for (int i = 0; i < cells.length; i++) {
                        setters.get(i).invoke(builder, value(cells[i], properties.get(i)[1]));
                    }
                    rows.add(build.invoke(builder));
                } catch (InvocationTargetException error) {
                    throw new IllegalStateException("row " + rows.size(), error.getCause());
                }
            }
        }
        return rows;
    }

    private static Class<?> typeOf(String name) {
        switch (name) {
            case "double":
                return double.class;
            case "long":
                return long.class;
            case "boolean":
                return boolean.class;
            default:
                return String.class;
        }
    }

    private static Object value(String cell, String type) {
        switch (type) {
            case "double":
                return Double.valueOf(cell);
            case "long":
                return Long.valueOf(cell);
            case "boolean":
                return Boolean.valueOf(cell);
            default:
                return cell;
        }
    }
}
