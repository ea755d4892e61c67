// Rows per second of a generated client. Whoever compiles it puts aliases before: Model, Row.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using Microsoft.ML.OnnxRuntime;

static class Program
{
    // ROWS SECONDS ROUNDS THREADS BATCH…: a file of rows, how long a round takes, onnxruntime's threads (0: its default)
    static void Main(string[] arguments)
    {
        Row[] rows = Rows.Read(arguments[0]);
        double seconds = double.Parse(arguments[1], CultureInfo.InvariantCulture);
        int rounds = int.Parse(arguments[2], CultureInfo.InvariantCulture);
        var options = new SessionOptions { IntraOpNumThreads = int.Parse(arguments[3], CultureInfo.InvariantCulture) };
        using var model = new Model(options);
        model.SelfTest();
        var found = new List<string> { "\"1\": " + Measured(seconds, rounds, Singles(model, rows)) };
        foreach (int size in arguments.Skip(4).Select(int.Parse))
        {
            found.Add("\"" + size + "\": " + Measured(seconds, rounds, Batches(model, rows, size)));
        }
        Console.WriteLine("{" + string.Join(", ", found) + "}");
    }

    // One call scores some rows and says how many.
    static Func<int> Singles(Model model, Row[] rows)
    {
        int at = 0;
        return () =>
        {
            model.Predict(rows[at++ % rows.Length]);
            return 1;
        };
    }

    static Func<int> Batches(Model model, Row[] rows, int size)
    {
        Row[] batch = Enumerable.Range(0, size).Select(at => rows[at % rows.Length]).ToArray();
        return () => model.Predict(batch).Count;
    }

    static string Measured(double seconds, int rounds, Func<int> score)
    {
        Rate(seconds / 2, score);
        IEnumerable<string> rates = Enumerable.Range(0, rounds)
            .Select(_ => Rate(seconds, score).ToString("F1", CultureInfo.InvariantCulture));
        return "[" + string.Join(", ", rates) + "]";
    }

    static double Rate(double seconds, Func<int> score)
    {
        long scored = 0;
        var watch = Stopwatch.StartNew();
        while (watch.Elapsed.TotalSeconds < seconds)
        {
            scored += score();
        }
        return scored / watch.Elapsed.TotalSeconds;
    }
}
